//! Codes of everything beside the recipe's text: data, devices, weights, runs, artifacts.

use super::Explanation;

pub(super) const ALL: &[Explanation] = &[
    Explanation {
        code: "data::missing",
        about: "data that is not on this machine",
        text: "\
The data set, or a file of it, was not found. Data is looked for in this order: `path` in the recipe's data table, \
the folder that `KD_DATA` names, `datasets/` of the enclosing workspace, the cache that `kd data fetch` fills. The \
message says which folders were looked in.

    kd data fetch fashion-mnist
    kd data fetch fashion-mnist --from /media/stick    # without a network",
    },
    Explanation {
        code: "data::damaged",
        about: "a published file with other content than was published",
        text: "\
The files of published sets are checked by size and SHA-256 of their unpacked content before anything is learned \
from them: a download that broke off or a changed copy would give numbers that compare with nobody's.

Remove the file that the message names and fetch the set again. `kd data verify` checks all sets.",
    },
    Explanation {
        code: "data::malformed",
        about: "a file of your own that is not what its format or the recipe says",
        text: "\
The file exists, but cannot be read as what the data table says it is: not IDX or CSV, cut off, a row with too few \
cells, a label that is no class. The message says which file and which line or position, what was expected there and \
what was found.

Mend the file, or the keys that describe it: `classes`, `label`, `header`, `shape`.",
    },
    Explanation {
        code: "data::request",
        about: "a number or a name of the data table that does not fit the data",
        text: "\
The data was found and read, but what is asked of it is impossible: more validation examples than there are, an \
example shape whose product is not the number of columns, a column that does not exist.

Validation examples are set aside from the training examples, so `validation` is smaller than their number. Test \
examples never choose anything.

    [data.mnist]
    validation = 5000",
    },
    Explanation {
        code: "data::download",
        about: "a data set that could not be fetched",
        text: "\
No address of the data set answered with the published file. The message lists every address with what was wrong. \
Try again later, or bring the files by other means and copy them into place; they are checked all the same.

    kd data fetch fashion-mnist --from DIR",
    },
    Explanation {
        code: "data::io",
        about: "data that the operating system refused to read or write",
        text: "\
A file exists but cannot be read, or a fetched one cannot be written. The reason below the message is the operating \
system's. Check that it is a file, that you may read it (or write its folder), and that there is free space.",
    },
    Explanation {
        code: "device::unknown",
        about: "a device that no backend has",
        text: "\
A device is named by its backend: `flex` and `ndarray` compute on the CPU, `wgpu` and `cuda` on a graphics card. The \
latter two take an index behind a colon where there are several cards. `kd list devices` shows which are compiled in.

    [device]
    name = \"cuda:1\"

or `--device cuda:1` on the command line.",
    },
    Explanation {
        code: "device::not-compiled",
        about: "a device that this program was built without",
        text: "\
The backend exists, but this program was built without it, since each takes long to build and some need tools of \
their own. Build it with the feature that the message names, or choose a device that is there: the same recipe runs \
on all of them.

    cargo install --path crates/kd-cli --features wgpu",
    },
    Explanation {
        code: "device::threads",
        about: "a number of threads that cannot be had",
        text: "\
`threads` is how many threads the CPU backend uses: at least 1, and set once for the whole process. It changes how \
long a run takes; leave it out to use all cores.

    [device]
    name = \"flex\"
    threads = 2",
    },
    Explanation {
        code: "model::unfit",
        about: "a model whose configuration does not fit the data",
        text: "\
The model cannot be built for these examples: a convolutional network for data that is no image, more halvings than \
the image has pixels, a width of 0. The message says what was expected.

Digits of 8×8, for example, take at most three blocks that halve them:

    [student]
    model.convnet = { channels = [4, 8], kernel = 3, hidden = 16 }",
    },
    Explanation {
        code: "site::unknown",
        about: "a loss names a site that the model does not have",
        text: "\
A loss on features names places in the two models, called sites. The models were run on one batch before the first \
step, and one of them did not pass the site. The message lists those it did pass. A deeper teacher has other sites \
than its student, so check which side is meant.

    hint = { student = \"block1\", teacher = \"block2\" }",
    },
    Explanation {
        code: "site::unjoinable",
        about: "two features that no connector can bring together",
        text: "\
A loss compares a feature of the student with one of the teacher, and a small trained connector maps the one onto \
the other where only the channels differ. These two differ in more: in rank, or in height and width, which a \
connector does not resample silently.

Choose sites of the same resolution, such as two blocks after the same number of poolings.",
    },
    Explanation {
        code: "site::not-reached",
        about: "a site that must be rounded, but no batch reached it",
        text: "\
Activations at this site are rounded, and their range is observed on training batches first. No batch passed the \
site, so there is no range: the model's forward pass skips it, or `calibration` saw no batch.

Make the forward pass reach all of its sites whatever the input, or observe more:

    [stage.quantize]
    calibration = 32",
    },
    Explanation {
        code: "checkpoint::missing",
        about: "a checkpoint that is not there",
        text: "\
`checkpoint` names weights to start from: a finished run, a stage's folder in one, or a safetensors file in PyTorch's \
names and layout. There is no such file or folder, or the folder holds no `model.safetensors`. A relative path starts \
from the folder of the recipe.

    checkpoint = \"runs/mnist/1-teacher\"",
    },
    Explanation {
        code: "checkpoint::unusable",
        about: "weights that cannot be put into the model",
        text: "\
The file exists, but it is no safetensors file, or it lacks parameters of the model, or widths within it contradict \
each other. Names and layout are PyTorch's: a linear layer's `weight` is [out, in], a batch norm has `weight`, `bias`, \
`running_mean` and `running_var`. The message names the parameter.

    torch: safetensors.torch.save_file(model.state_dict(), \"teacher.safetensors\")",
    },
    Explanation {
        code: "checkpoint::shape",
        about: "a parameter of another shape than the model's",
        text: "\
The file has the parameter, but in another shape than the model that the recipe configures. The configuration and \
the file belong to different networks: other widths, another kernel size, or another architecture with the same names.

Write the widths of the network that the file holds into `model.NAME`.",
    },
    Explanation {
        code: "checkpoint::classes",
        about: "weights for another number of classes than the data has",
        text: "\
The last layer of the checkpoint decides between another number of classes than the data set has. A teacher for other \
classes cannot say anything about these: its probabilities would be compared with the student's position by position.

Use a teacher that was trained on this data set's classes.",
    },
    Explanation {
        code: "checkpoint::state",
        about: "a file of a run that was changed or damaged",
        text: "\
A run goes on from files that this program wrote: its recipe, its state, its summaries. One of them is not as it was \
written, and going on from it would end in a run that looks whole and is not.

Bring the file back as it was, or begin a new run in another directory. To run a changed recipe, start it anew.",
    },
    Explanation {
        code: "train::loss-not-finite",
        about: "the loss became infinite or not a number",
        text: "\
Training stopped at the step that the message names, before the weights were changed by it. The term that is to blame \
is named too. Mostly the learning rate is too high for this model, sometimes a weight of a term is.

Lower the rate, warm up longer, or bound the gradients:

    gradient-clipping = 1.0
    learning-rate.one-cycle = { peak = 2e-3, warm-up = 0.3 }",
    },
    Explanation {
        code: "train::activation-not-finite",
        about: "an activation became infinite or not a number",
        text: "\
Ranges of activations are observed before they are rounded, and one is infinite or not a number: there is no scale \
for it. The network diverged in a stage before, or its input is broken.

Lower the learning rate of the stage before, or set `gradient-clipping = 1.0` there.",
    },
    Explanation {
        code: "train::loss-impossible",
        about: "a loss that cannot be computed from what it is given",
        text: "\
A loss refused its inputs: logits of teacher and student of different shapes, features of different ranks, a batch \
without examples. The message says what was expected and what was found.

Teacher and student must decide between the same classes, and the sites of a loss on features must fit each other.",
    },
    Explanation {
        code: "prune::missing-input",
        about: "a criterion was not given a tensor that it reads",
        text: "\
`kd prune eval` computes a criterion on tensors that are named: `weight`, `grad`, `activations` and others, those of \
several layers as `layers.0.weight`, `layers.1.weight` without a gap. One that this criterion reads is not in the file.

`kd explain criterion.NAME` lists what the criterion reads, with shapes, and an example that runs:

    kd explain criterion.wanda",
    },
    Explanation {
        code: "prune::wrong-input",
        about: "a tensor for a criterion has a name, a shape, a type or numbers that mean nothing to it",
        text: "\
A file may hold more than a criterion reads, so that it serves several. A name that is nearly that of an input is refused, \
and so is a tensor of one layer, `weight`, beside those of several, `layers.0.weight`.

A gradient has its weight's shape, activations end in as many columns as the weight has inputs (for a convolution, its \
unfolded patches of in·kh·kw), and all numbers are finite floats. The message names the tensor, what was expected and what \
was found. A matrix of second derivatives that has no inverse is the same kind of trouble: more samples or a larger \
`damping` mend it; and so is a `lambda` of `owl` that would take a layer's sparsity out of 0 to 1.

Everything is computed in f64 and written in the precision of what the criterion reads, f64 where any of it is. A result \
that is not finite there, as the square of 1e30 is not in f32, is an error and not an infinity in the file.

    safetensors.torch.save_file({\"weight\": w, \"activations\": x.flatten(0, -2)}, \"tensors.safetensors\")",
    },
    Explanation {
        code: "prune::inputs",
        about: "a criterion reads what a layer is given, and that cannot be had",
        text: "\
`wanda`, `sparsegpt` and `owl` look at what each masked layer is given. A model shows its values at sites, and from a site to \
the layer only pooling, ReLU and operations that move numbers can be repeated. Between this layer and the nearest site stands \
something else, or two layers share the weight.

A model of one's own names a value with `tap.at`, which costs nothing while nobody looks:

    let x = tap.at(\"hidden\", gelu(x));

Criteria of weights, such as `magnitude`, need no inputs: `kd list criteria` shows all.",
    },
    Explanation {
        code: "prune::pattern",
        about: "a pattern that cannot be read, or that the criterion cannot remove by",
        text: "\
A pattern says what goes: `unstructured sparsity=S` single elements, with `scope=global` of all layers together; \
`keep=K of=M` all but K of every M neighbors in a row; `block RxC sparsity=S` tiles; `rows sparsity=S` and `columns \
sparsity=S` lines of the matrix [out, in·kh·kw]; `random sparsity=S` the same share of each row by chance, with `seed=N`, \
whatever the criterion says: a control; `channels sparsity=S` output units, for scores of channels. S is a share from 0 to \
1.

A criterion that scores elements takes no `channels`, and one of channels nothing else; a knob `unit` chooses one of the two \
where a criterion has both, and without it the pattern does. `threshold` and `owl` take no pattern here (a stage `sparsify` \
gives `owl` its own), and `sparsegpt` those by which its sweep can choose.

    kd prune eval --criterion 'wanda' --pattern 'keep=2 of=4' --in tensors.safetensors --out pruned.safetensors",
    },
    Explanation {
        code: "loss::missing-input",
        about: "a loss was not given a tensor that it reads",
        text: "\
`kd loss eval` computes a loss on tensors that are named: `student.logits`, `teacher.logits`, `targets`, `mask`, features \
as `student.SITE` and `teacher.SITE`, several teachers as `teacher.0.logits`, `teacher.1.logits`, and what a loss trains \
beside the student as `connector.NAME`. One that this loss reads is not in the file.

`kd explain loss.NAME` lists what the loss reads, with shapes, and an example that runs:

    kd explain loss.kl",
    },
    Explanation {
        code: "loss::wrong-input",
        about: "a tensor for a loss has a name, a type or numbers that mean nothing to it",
        text: "\
A tensor in the file has a name that no loss reads, such as `logits` without `student.` in front; or its numbers are not \
what its name says: labels (`targets`) are integers from 0 to C - 1, a `mask` holds ones and zeros, everything else is \
floats. The message names the tensor, what was expected and what was found.

    safetensors.torch.save_file({\"student.logits\": s, \"teacher.logits\": t, \"targets\": y}, \"tensors.safetensors\")",
    },
    Explanation {
        code: "loss::tensors",
        about: "a file of tensors that cannot be read",
        text: "\
`kd loss eval`, `kd prune eval` and `kd cast` read a safetensors file. There is no such file, it is damaged, or it holds a type that is neither a \
float nor an integer.

    safetensors.torch.save_file({\"student.logits\": s, \"teacher.logits\": t}, \"tensors.safetensors\")
    kd loss eval --loss 'kl = { temperature = 4.0 }' --in tensors.safetensors --out result.safetensors",
    },
    Explanation {
        code: "quantize::scheme",
        about: "words that are no scheme for weights",
        text: "\
`kd quantize --weights` takes a number format, what shares a scale, for integers where zero is, and the format of scales \
unless that is f32. A word is unknown, there twice, or does not go with the format: floats and codebooks have no zero \
point, and formats with blocks of their own (`mxfp4`, `nvfp4`, `q4_0`) stand alone.

    kd quantize model.safetensors --weights 'int4 group=32 affine' --out model-int4
    kd quantize model.safetensors --weights 'nf4 group=64' --out model-nf4
    kd quantize model.safetensors --weights 'e4m3fn channel' --out model-fp8",
    },
    Explanation {
        code: "quantize::option",
        about: "an option of `kd quantize` that makes no sense, or not with another",
        text: "\
A method that does not exist, a budget that is no number of bits, an expression that cannot be read, or a scheme that the \
method cannot do: `hqq`, `gptq` and `awq` round to integers with a scale for each channel or group, and `hqq` moves zero \
points, so that its schemes are affine.

    kd quantize model.safetensors --budget '4.2 bpw' --method hqq --out model-mixed",
    },
    Explanation {
        code: "quantize::inputs",
        about: "a method that needs the inputs of layers, and does not have them",
        text: "\
`gptq` and `awq` choose codes that keep a layer's outputs, so they need to know its inputs, and a checkpoint does not hold \
any. Put them into a safetensors file: for a weight `N` of K columns a tensor `N.inputs` of shape [tokens, K], or \
`N.hessian` of shape [K, K], which is 2 E[x xᵀ].

    kd quantize model.safetensors --weights 'int4 group=32' --method gptq --inputs inputs.safetensors --out model-gptq

Without inputs `rtn` and `hqq` work.",
    },
    Explanation {
        code: "quantize::tensor",
        about: "a weight that cannot be quantized",
        text: "\
The weight holds NaN or an infinity, which would spoil the scale of everything beside it, or numbers so large that a value \
of the grid would overflow, or its inputs are of no use. Nothing was written.

Mend the tensor, or leave it as it is:

    kd quantize model.safetensors --weights 'int8 channel' --ignore '^decoder\\.' --out model-int8",
    },
    Explanation {
        code: "quantize::budget",
        about: "a budget that even the smallest schemes exceed",
        text: "\
`--budget` chooses for each weight among affine integers of 2 to 8 bits, in groups and channels, and the weight as it is, by \
their size on disk with scales and zero points. Even the cheapest of them take more than that; the message says how much. \
A larger budget will do, or a smaller scheme for all:

    kd quantize model.safetensors --weights 'binary channel' --out model-binary",
    },
    Explanation {
        code: "quantize::folder",
        about: "a folder that is no quantized checkpoint, or cannot become one",
        text: "\
`kd dequantize` reads a folder with `config.json` and `*.safetensors`, as `kd quantize` or compressed-tensors writes it. \
Something is missing, or a tensor is not what `config.json` says. When quantizing, two tensors would have one name: a \
checkpoint holds both `N` and `N_scale`, as one that is quantized already.

    kd dequantize model-int4 --out model.safetensors",
    },
    Explanation {
        code: "cast::format",
        about: "a number format that does not exist or that a profile does not define",
        text: "\
`kd cast` takes a number format by the name that `kd list formats` shows, and rounds as one of the profiles `onnx`, \
`torch`, `gguf`, `ocp` and `ml-dtypes` does. A profile that says nothing about a format is refused, since any codes would \
be an invention.

Without `--numerics` the format's home is used, which always defines it:

    kd cast --format e2m1fn tensors.safetensors codes.safetensors",
    },
    Explanation {
        code: "cast::tensor",
        about: "a number that a format has no code for",
        text: "\
A tensor holds NaN and the format has no NaN, or an infinity and a scale would be infinite, or a negative number and the \
format has no sign. Another code would hide that.

Mend the tensor, or choose a format that has a code for it:

    kd cast --format e4m3fn tensors.safetensors codes.safetensors",
    },
    Explanation {
        code: "prune::not-kept",
        about: "a stage that lost a mask or a shape of an earlier one",
        text: "\
What is masked stays masked: later stages train, round and export around it, and at the end of every stage each masked \
weight is looked up, as it is stored and as it is in force. The same holds for shapes, which a stage that prunes alone \
may change. Something did not hold, and the run stops, since its numbers would be those of another model.

This is an error of this program. Please report it with the recipe.",
    },
    Explanation {
        code: "prune::impossible",
        about: "channels or weights that cannot be removed as asked",
        text: "\
The pattern cannot be carried out on this network: so large a share that an axis would lose all of its channels, a \
target of multiply-accumulates that no cut reaches while one channel of each axis stays (or `min-units`, or a multiple of \
`round-to`), `pinned` that matches no parameter, weights that are not finite. What follows from shapes alone is found before \
anything trains.

Ask for less, or for a share of channels instead of a share of cost:

    pattern.channels = { sparsity = 0.4 }",
    },
    Explanation {
        code: "prune::none-can-go",
        about: "a network of which no heads, blocks or experts can go, or not so many",
        text: "\
`pattern.heads` takes whole heads of attention, with keys and values. `pattern.layers` takes residual blocks: elements of a \
`Vec` in the model that add to a value which goes on without them. `pattern.experts` takes elements that a router weighs, \
one output each, with these outputs. What a network has of that is read off its forward pass; the message says what keeps \
the others: a block that changes the width of what it adds to is needed, and so is the last one of a list (`min-units`, 1).

A model of your own also has to say how it drops an element. It derives `SyncShape`, as its blocks do, and its `Model` \
passes the path on:

    fn remove_element(&mut self, path: &str) -> bool {
        SyncShape::remove_element(self, path)
    }

`kd graph RECIPE` shows the axes and the residual blocks of a model.",
    },
    Explanation {
        code: "quantize::impossible",
        about: "numbers that cannot be rounded as asked",
        text: "\
A scale could not be found, mostly because a weight or an activation is infinite or not a number. Rounding would hide \
that behind the largest code. The message names the weight or the site.

Look at the stage before: its loss and its accuracy in the report. A lower learning rate there usually helps.",
    },
    Explanation {
        code: "graph::not-captured",
        about: "a forward pass that cannot be recorded",
        text: "\
Channels, costs and exports are found in a recording of the model's forward pass. It uses an operation that the \
recording does not know, depends on the size of the batch, or reads values back from tensors. The message names the \
operation and the path of the layer.

Write that part with operations of tensors alone, and with shapes that follow from the input's.",
    },
    Explanation {
        code: "export::parity",
        about: "an exported file that does not compute what the trained model computes",
        text: "\
After an export the file is run in an engine over all test examples and compared with the model that was trained. \
They differ by more than is allowed: 1e-4 of the largest logit for a float file; for an int8 file, agreement of the \
top class on at least 99.9 % of the examples in ONNX Runtime and 99.5 % in tract. A file beyond that is not what was \
measured, so the export fails.

That is a fault of this program or of the engine, not of the recipe. Another version of the engine may agree.",
    },
    Explanation {
        code: "export::failed",
        about: "an artifact that could not be written or run",
        text: "\
Writing a model file or running it in an engine failed. The message says at which layer or file, and the engine's own \
words follow. An operation that ONNX cannot express is named with its path.

If the engine is the reason, try another: `kd list engines` shows which are there.",
    },
    Explanation {
        code: "engine::unknown",
        about: "an engine that is not on this machine",
        text: "\
Exported models are run by engines other than this program: `tract` is built in, `onnxruntime` is loaded from a \
library where there is one, `burn` is the training framework itself. `kd list engines` shows which are there, and why \
one is not.

    pip install onnxruntime
    ORT_DYLIB_PATH=/path/to/libonnxruntime.so kd eval model.onnx --engine onnxruntime",
    },
    Explanation {
        code: "run::exists",
        about: "a directory that exists where a run would begin",
        text: "\
A run never writes into a directory that exists: a finished run is a record. Without `--run-dir` the next free name is \
taken: `runs/NAME`, `runs/NAME-2` and so on.

    kd train recipe.toml --run-dir runs/another",
    },
    Explanation {
        code: "run::unfinished",
        about: "a run that stopped half way, where a new one would begin",
        text: "\
The directory holds a run of this name that was stopped or killed. It can go on from its last saved step, and ends \
with the same files as if it had never stopped. A new run beside it would leave the half one lying about, so one of \
the two has to be asked for.

    kd train --resume runs/NAME
    kd train recipe.toml --run-dir runs/another",
    },
    Explanation {
        code: "run::in-use",
        about: "a run that another process is working on",
        text: "\
A run's directory belongs to one process at a time, which holds a lock on it that ends with the process, however it \
ends. That process is alive. Wait for it, or stop it: Ctrl-C saves its work, and then this command goes on with it.",
    },
    Explanation {
        code: "run::not-a-run",
        about: "a path that holds no run",
        text: "\
A run's directory has a `manifest.json`, which says what ran and whether it is done. There is none, so the path is \
something else: a folder of runs, a stage's folder, or a misspelled name.

    kd report runs/mnist",
    },
    Explanation {
        code: "run::unknown-stage",
        about: "a stage that the run does not have",
        text: "\
The run has no stage of that name; the message lists those it has. Stages are called by their `name` in the recipe, \
without the number that their folders begin with.

    kd export runs/mnist --stage distill --out artifacts",
    },
    Explanation {
        code: "run::no-seeds",
        about: "a comparison over no seeds",
        text: "\
`--seeds N` repeats the recipe with N seeds, from the recipe's own seed on, and reports mean and spread. None would \
compare nothing. Three show whether a difference is larger than chance, roughly.

    kd train recipe.toml --seeds 3",
    },
    Explanation {
        code: "run::file-exists",
        about: "a file that exists where an artifact would be written",
        text: "\
Artifacts are not written over files that exist: which of the two was measured could not be told afterwards. Choose \
another folder, or remove the files.

    kd export runs/mnist --out artifacts/mnist-2",
    },
    Explanation {
        code: "run::data-unknown",
        about: "a model file that does not say what data it is for",
        text: "\
A model outside of a run's directory carries no note of the data set it was trained on, and scoring it on a guess \
would give a number that means nothing. Name the data set.

    kd eval model.onnx --data mnist",
    },
    Explanation {
        code: "run::interrupted",
        about: "a run that was stopped by you, with everything saved",
        text: "\
Ctrl-C lets the step at hand finish, saves, and exits with code 3. Nothing is lost: the run goes on from there, and on \
the CPU backends ends with the same bytes as if it had not been stopped.

    kd train --resume runs/NAME",
    },
    Explanation {
        code: "io::disk-full",
        about: "no space is left to write to",
        text: "\
The disk, or your share of it, is full. Files are written under a temporary name and renamed when they are whole, so \
what is there is good. Free some space; the run goes on from its last saved step.

    kd train --resume runs/NAME",
    },
    Explanation {
        code: "io::failed",
        about: "a file that the operating system refused",
        text: "\
A file of the run could not be read or written; the reason below the message is the operating system's: no right to \
write there, a folder that is a file, a disk that went away. The run goes on from its last saved step once that is \
mended.

    kd train --resume runs/NAME",
    },
];
