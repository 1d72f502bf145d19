//! Codes of what can be wrong with a recipe, found before anything runs.

use super::Explanation;

pub(super) const ALL: &[Explanation] = &[
    Explanation {
        code: "recipe::syntax",
        about: "the text is no TOML",
        text: "\
The recipe cannot be read as TOML at all, so nothing else about it could be checked. Often a quote or a bracket is \
not closed, a key stands twice in one table, or a table is opened twice.

A list of things is a list of tables with double brackets, and a table in one line uses `=` and commas:

    [[stage]]
    name = \"distill\"
    [stage.distill]
    epochs = 6
    learning-rate.one-cycle = { peak = 1e-2, warm-up = 0.3 }",
    },
    Explanation {
        code: "recipe::schema",
        about: "the recipe is written for another version of this program",
        text: "\
`schema` names the version of the grammar. This program reads version 1 and does not guess at another: a key that \
has changed its meaning would make a run that looks right and is not.

Use a program that knows the recipe's version, or rewrite the recipe and set

    schema = 1",
    },
    Explanation {
        code: "recipe::unknown-key",
        about: "a key that nothing reads",
        text: "\
Every key of a recipe is read by something, and one that is not is refused: a misspelled `learning-rat` would \
otherwise train at the default rate without a word. The message names the nearest key that exists at this place.

Keys are written in kebab-case (`weight-decay`). Knobs belong to the thing they configure: a loss's in its table, \
a stage's in the table of its kind.

    [stage.distill]
    epochs = 6
    gradient-clipping = 1.0",
    },
    Explanation {
        code: "recipe::unknown-name",
        about: "a name that is not among those of this place",
        text: "\
At this place a name is chosen from a fixed set: an optimizer, a schedule, an observer, a criterion, a pattern. The \
message suggests the nearest one.

`kd list optimizers`, `kd list schedules`, `kd list observers`, `kd list criteria` and `kd list patterns` show the sets with \
their knobs.

    optimizer.adam-w = { weight-decay = 0.01 }
    learning-rate.cosine = { from = 1e-3, to = 1e-5 }",
    },
    Explanation {
        code: "recipe::unknown-loss",
        about: "a term of an objective names a loss that is not registered",
        text: "\
A term of an objective is a table with a `weight` and one more key, the name of its loss, whose value holds the \
loss's knobs. No loss has the name that is written.

`kd list losses` shows the names; a program of your own adds losses to its registry before it hands it over.

    [[objective]]
    weight = 0.9
    kl = { temperature = 4.0 }",
    },
    Explanation {
        code: "recipe::loss-lacks",
        about: "a loss needs something that a recipe cannot give it",
        text: "\
A recipe trains a classifier: it has logits, labels, and features at sites of both models. This loss reads something \
else, such as several teachers, pairs of examples, masks of tokens or a generator.

`kd explain loss.NAME` says what it reads. It can be used through the crate `kd-core` in a training loop of your own, \
and on saved tensors:

    kd loss eval --loss 'uld' --in tensors.safetensors --out result.safetensors",
    },
    Explanation {
        code: "recipe::unknown-model",
        about: "a network names a model that is not registered",
        text: "\
`model.NAME` in `[teacher]` or `[student]` names a model that this program does not have.

`kd list models` shows the names. A model of your own is registered in a program of your own, by a name with a dot \
such as `acme.net`, which recipes then write in quotes: `model.\"acme.net\" = {}`.

    [student]
    model.convnet = { channels = [4, 8], hidden = 32 }",
    },
    Explanation {
        code: "recipe::unknown-data",
        about: "the data table names a data set that is not registered",
        text: "\
`[data.NAME]` names a data set that this program does not know. `kd list datasets` shows those it does.

For files of your own, `idx` reads files in MNIST's format and `csv` reads tables:

    [data.csv]
    train = \"train.csv\"
    test = \"test.csv\"
    classes = 10
    validation = 500",
    },
    Explanation {
        code: "recipe::unknown-metric",
        about: "a gate names a number that no stage has",
        text: "\
A gate in `[expect]` is written STAGE.METRIC, and the metric is one of the numbers that a stage has in \
`summary.json`: `accuracy`, `accuracy-last`, `errors`, `params`, `nonzero`, `macs`, `bytes`, `agreement`; a stage \
`share` has `packed-ratio` too, how many times smaller than its elements in f32 its packed file is.

    [expect]
    distill.accuracy = { min = 0.98 }
    int8.bytes = { max = 20000 }",
    },
    Explanation {
        code: "recipe::unknown-stage",
        about: "a gate names a stage that the recipe does not have",
        text: "\
A gate holds for a row of the report: a stage by its `name`, `baseline` (the student trained alone, which a recipe \
with a `distill` stage has), or `teacher` where the teacher comes from a checkpoint. An `export` stage has no row. A \
gate for a row that never comes would never be missed, so it is refused.

    [expect]
    distill.accuracy = { min = 0.98 }",
    },
    Explanation {
        code: "recipe::wrong-type",
        about: "a value of another kind than its key needs",
        text: "\
The key exists, but its value is of the wrong kind: text where a number belongs, a number where a table belongs, a \
fraction where a count belongs. Numbers stand without quotes, names with quotes, and a thing with knobs is a table \
even where it has none to set.

    epochs = 6
    name = \"distill\"
    cross-entropy = {}",
    },
    Explanation {
        code: "recipe::bad-value",
        about: "a value of the right kind that means nothing here",
        text: "\
The value can be read, but it lies outside what its key allows: a negative temperature, a share above 1, no epochs \
where something must be learned, a scheme of words that do not exist. The message says what is allowed.

Shares are fractions from 0 to 1, never percent, and a number of things is at least 1 where none would do nothing.

    kl = { temperature = 4.0 }
    pattern.channels = { macs = 0.4 }",
    },
    Explanation {
        code: "recipe::alpha",
        about: "`alpha` in `kl`, which has none",
        text: "\
Half of the field's programs mean by `alpha` the share of the teacher, the other half the share of the labels, and some \
scale the one and not the other. So `kl` has no `alpha`: every term of an objective has a `weight` of its own, and \
what is written is what is added. Where a program minimizes `alpha · KL + (1 - alpha) · CE`, write

    [[objective]]
    weight = 0.1        # 1 - alpha
    cross-entropy = {}
    [[objective]]
    weight = 0.9        # alpha
    kl = { temperature = 4.0 }",
    },
    Explanation {
        code: "recipe::bad-name",
        about: "a name that cannot be the name of a folder or of a row",
        text: "\
The recipe's `name` becomes the folder of the run and a stage's `name` the folder of the stage and its row in the \
report. They consist of letters, digits, `-`, `_` and `.`, and do not begin with a dot.

Two names are not yours: `baseline`, the row of the student trained alone, and `teacher` where the teacher has a \
`checkpoint` and therefore a row without a stage.

    [[stage]]
    name = \"prune-40\"",
    },
    Explanation {
        code: "recipe::bad-scheme",
        about: "a scheme of rounding at a place that cannot take it",
        text: "\
The scheme exists, but not at this place. Weights take every scheme but one of tokens. Activations are integers of 2 to \
8 bits with one scale for the whole tensor, since a product sums over the channels of its input and could not take a \
scale of each out of the sum; or with a scale for each row that is found at run time. Without `activations` the weights \
alone are rounded.

Engines run integer kernels where weights are symmetric integers, or ternary, with a scale in f32 for the tensor or a \
channel, and activations have one scale. Every other model is exported with its rounded values as floats, and says so in \
the report; `weights-container = \"packed\"` in `[stage.export]` stores codes instead where ONNX has a type for them.

    weights = \"int8 channel symmetric\"
    activations = \"int8 tensor affine\"",
    },
    Explanation {
        code: "recipe::bad-criterion",
        about: "a criterion that needs what a stage does not have",
        text: "\
A stage gives its criterion the weight and ranks the scores by its pattern: single elements in `sparsify`, channels in \
`prune`. `sparsify` also gathers gradients while it trains, and over calibration batches what layers read; `prune` \
gradients or activations before it cuts. A criterion \
that reads more, that takes no pattern, or that has scores of the other unit alone cannot be used there. `kd list criteria` shows all, and `kd explain criterion.NAME` what one reads.

    [stage.sparsify]
    pattern.unstructured = { sparsity = 0.9 }
    criterion.magnitude = { p = 1 }",
    },
    Explanation {
        code: "recipe::bad-override",
        about: "a `--set` that names nothing or is no `key=value`",
        text: "\
`--set key=value` changes the recipe before it is read. The key is a path of dots; an element of a list is named by \
its `name`, or counted from 0. The value is read as TOML, and as text where that fails.

    kd train recipe.toml --set seed=7 --set stage.distill.distill.epochs=2 --set objective.0.weight=0.2",
    },
    Explanation {
        code: "recipe::missing-key",
        about: "a key without which a table means nothing",
        text: "\
Most keys have a default, which `recipe.resolved.toml` and `kd check` show; this one has none, because any value \
that the program chose would be a guess about what you mean: the name of a run, the epochs of a training, the \
temperature of a distillation. The help shows what to write.

    [[stage]]
    name = \"distill\"
    [stage.distill]
    epochs = 6",
    },
    Explanation {
        code: "recipe::no-name",
        about: "a place that names one thing names none",
        text: "\
At this place the recipe chooses one thing by a key: a stage its kind, a term its loss, a network its model, the \
data table its set. Nothing is chosen.

    [[stage]]
    name = \"teacher\"
    [stage.train]        # this line says what the stage does
    of = \"teacher\"
    epochs = 6",
    },
    Explanation {
        code: "recipe::two-names",
        about: "a place that names one thing names two",
        text: "\
At this place the recipe chooses one thing by a key, and two are there. Which of them comes first cannot be told \
from a table, so two stages are two `[[stage]]` and two losses two `[[objective]]`.

    [[objective]]
    weight = 0.1
    cross-entropy = {}
    [[objective]]
    weight = 0.9
    kl = { temperature = 4.0 }",
    },
    Explanation {
        code: "recipe::no-stages",
        about: "a recipe that does nothing",
        text: "\
The list of stages is empty. A recipe is carried out stage by stage, in the order in which they stand: train a \
teacher or name its checkpoint, distill it into a student, and then, as you like, prune, sparsify, quantize and \
export it. `kd init` writes a recipe to start from.

    [[stage]]
    name = \"teacher\"
    [stage.train]
    of = \"teacher\"
    epochs = 6",
    },
    Explanation {
        code: "recipe::duplicate-stage",
        about: "two stages with the same name",
        text: "\
A stage's name is its row in the report and what gates and `kd export --stage` call it, so it can be given once only. \
Two stages of the same kind need two names.

    [[stage]]
    name = \"prune-once\"
    [[stage]]
    name = \"prune-again\"",
    },
    Explanation {
        code: "recipe::no-objective",
        about: "a stage trains the student, and nothing says what it learns from",
        text: "\
The teacher learns from labels unless its stage says otherwise, but what a student learns from is the point of a \
recipe and has no default. It is a list of terms, each a loss with a weight of its own; at the top it holds for every \
stage that trains the student, within a stage for that stage alone.

    [[objective]]
    weight = 0.1
    cross-entropy = {}
    [[objective]]
    weight = 0.9
    kl = { temperature = 4.0 }

For one stage: `[[stage.distill.objective]]`.",
    },
    Explanation {
        code: "recipe::nothing-to-distill",
        about: "a distill stage whose objective never looks at the teacher",
        text: "\
The stage is called distillation, but every term of its objective compares the student with the labels. It would \
train the student alone and be reported as distilled.

Add a term that looks at the teacher, such as `kl` or `hint`, or say what is meant:

    [stage.train]
    of = \"student\"
    epochs = 6",
    },
    Explanation {
        code: "recipe::no-teacher",
        about: "nothing gives the teacher its weights",
        text: "\
The report begins with the teacher and compares every later row with it, and most objectives learn from it. So the \
teacher is trained by the first stage, or its weights are given: a run, a stage's folder, or a safetensors file in \
PyTorch's names and layout. A teacher without either would be random numbers.

    [teacher]
    model.convnet = { channels = [16, 32], hidden = 128 }
    checkpoint = \"teacher.safetensors\"",
    },
    Explanation {
        code: "recipe::teacher-given",
        about: "the teacher has a checkpoint, and a stage trains it",
        text: "\
`checkpoint` in `[teacher]` gives the teacher's weights, and a stage `of = \"teacher\"` would train it from the \
beginning. One of the two is not meant. A given teacher is scored and exported like a trained one, in a first row of \
its own.

Take out the checkpoint, or the stage.",
    },
    Explanation {
        code: "recipe::teacher-late",
        about: "the teacher is trained after something else",
        text: "\
Every row of the report is compared with the teacher, so the teacher is the first row: the stage that trains it \
stands at the top. Move its `[[stage]]` there.

    [[stage]]
    name = \"teacher\"
    [stage.train]
    of = \"teacher\"
    epochs = 6",
    },
    Explanation {
        code: "recipe::teacher-twice",
        about: "two stages train the teacher",
        text: "\
A run has one teacher, and its weights do not change once anything was compared with it. Give the one stage more \
epochs or another learning rate instead, such as a schedule that joins two:

    learning-rate.sequence = [[0.5, 1e-3], [1.0, { cosine = { from = 1e-3, to = 1e-5 } }]]",
    },
    Explanation {
        code: "recipe::teacher-teaches-itself",
        about: "a term in the teacher's own stage needs a teacher",
        text: "\
Losses such as `kl` and `hint` compare a student with a teacher. The stage trains the teacher, which has none. Its \
objective can hold losses on labels only, and is cross entropy if the stage brings no list of its own.

    [[stage.train.objective]]
    weight = 1.0
    cross-entropy = { label-smoothing = 0.1 }",
    },
    Explanation {
        code: "recipe::untrained-student",
        about: "a student is compressed or exported before it has learned anything",
        text: "\
Pruning, masking and rounding keep what matters in a trained network; in a random one nothing does, and the stages \
after it would start from a crippled initialization. Put a `distill` stage, or a `train` stage of the student, \
before it, or give the student weights:

    [student]
    model.convnet = { channels = [4, 8], hidden = 32 }
    checkpoint = \"student.safetensors\"",
    },
    Explanation {
        code: "recipe::no-effect",
        about: "a key that would change nothing beside another one",
        text: "\
The key is one that this kind of stage has, but not beside what else is written: the choice that the message shows does \
without it. A `criterion` ranks nothing where movement scores do or where what is empty goes, and `frequency` has no place \
where masks change at the beginning of rounds alone. Rather than be left out silently it is refused: take it out, or choose otherwise.

    [stage.sparsify]
    pattern.unstructured = { sparsity = 0.9 }
    schedule.movement = {}
    frequency = 10",
    },
    Explanation {
        code: "recipe::after-quantize",
        about: "a stage changes a student whose weights are already rounded",
        text: "\
Quantization comes last: ranges of activations, folded batch norms and rounded weights belong to the network as it \
was then. Removing channels, masking weights or training it in float afterwards would undo what was measured, and \
rounding twice rounds once. Only `export` may follow.

Move the stage before the one that quantizes; masks survive quantization, zeros stay zeros.",
    },
];
