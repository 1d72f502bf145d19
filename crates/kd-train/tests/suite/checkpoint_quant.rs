//! Checkpoints quantized and back: every layout, sizes, errors, budgets, methods.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kd_train::Error;
use kd_train::checkpoint_quant::{
    Coded, Form, Inputs, Layout, Method, Planned, Report, Request, Source, Target, Writer, dequantize,
    ignore, quantize,
};
use kd_train::tensors::{self, Numbers};
use quant_core::ptq::{Grid, Hqq, Matrix, hqq, hqq_integer};
use quant_core::{Scheme, Symmetry, encode};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// Numbers that look random and are not.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 24) - 0.5
    };
    (0..count).map(|_| (next() + next() + next()) as f32 * 0.1).collect()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

type Content = Vec<(&'static str, Dtype, Vec<usize>, Vec<u8>)>;

fn write(path: &Path, content: &Content) {
    let views = content
        .iter()
        .map(|(name, dtype, shape, bytes)| (*name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

const ROWS: usize = 50;
const COLUMNS: usize = 96;

/// A weight and all kinds of tensors that are to stay as they are.
fn content() -> Content {
    vec![
        ("layer.weight", Dtype::F32, vec![ROWS, COLUMNS], bytes(&numbers(ROWS * COLUMNS, 1))),
        ("layer.bias", Dtype::F32, vec![ROWS], bytes(&numbers(ROWS, 2))),
        ("conv.weight", Dtype::F32, vec![4, 2, 3], bytes(&numbers(24, 3))),
        ("fp8.weight", Dtype::F8_E4M3, vec![4, 5], (0..20).collect()),
        ("ids", Dtype::I64, vec![2, 2], (0..32).collect()),
        ("mask", Dtype::BOOL, vec![3, 3], vec![1, 0, 1, 1, 0, 0, 0, 1, 0]),
        ("empty.weight", Dtype::F32, vec![0, 7], Vec::new()),
    ]
}

struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    fn new(content: &Content) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("in.safetensors"), content);
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn quantize(&self, request: &Request, out: &str) -> Result<Report, Error> {
        quantize(&self.path("in.safetensors"), request, &self.path(out))
    }

    /// All tensors after the way there and back.
    fn back(&self, out: &str) -> BTreeMap<String, Vec<f32>> {
        dequantize(&self.path(out), &self.path("back.safetensors")).unwrap();
        let source = Source::open(&self.path("back.safetensors")).unwrap();
        let matrices = source.tensors().iter().filter(|(_, entry)| entry.matrix().is_some());
        matrices.map(|(name, entry)| (name.clone(), source.rows(entry, 0..entry.shape[0]).unwrap())).collect()
    }
}

fn request(words: &str) -> Request {
    Request {
        target: Target::scheme(words).unwrap(),
        method: Method::Rtn,
        own: false,
        inputs: None,
        ignore: None,
    }
}

const SCHEMES: &[&str] = &[
    "int1 group=32 affine",
    "int1 channel symmetric",
    "int2 group=16 symmetric",
    "int3 group=32 affine",
    "int4 group=32 affine",
    "int4 group=40 affine",
    "int4 group=32 affine scale=fp16",
    "int4 group=32 affine scale=e8m0fnu",
    "int4 group=32 narrow scale=ue4m3",
    "uint4 group=32",
    "uint4 group=32 affine scale=e8m0fnu",
    "int5 tensor affine",
    "uint7 channel",
    "int8 channel symmetric",
    "int8 tensor no-clip",
    "int8 block=16x32 affine",
    "int8 block=7x5 affine scale=e8m0fnu",
    "int16 channel affine",
    "uint16 tensor",
    "e4m3fn tensor",
    "e4m3fn channel scale=bf16",
    "e4m3fn block=16x32",
    "e4m3fn",
    "e5m2 channel",
    "e5m2",
    "e4m3fnuz",
    "e2m1fn group=32",
    "e3m2fn tensor",
    "bf16",
    "fp16",
    "fp16 channel",
    "tf32",
    "nf4",
    "nf4 group=64",
    "nf4 group=40 scale=fp16",
    "ternary",
    "ternary channel",
    "ternary tensor scale=fp16",
    "binary",
    "binary group=32",
    "pow2",
    "mxfp8_e4m3",
    "mxfp8_e5m2",
    "mxfp6_e2m3",
    "mxfp6_e3m2",
    "mxfp4",
    "mxint8",
    "nvfp4",
    "nvfp4 global=none",
    "q4_0",
    "q4_1",
    "q5_0",
    "q5_1",
    "q8_0",
    "tq2_0",
];

/// A small weight goes there and back as `encode` and `decode` say, whatever the layout; everything else stays.
#[test]
fn every_scheme_comes_back_as_its_codes_say() {
    let content = content();
    let values = numbers(ROWS * COLUMNS, 1);
    for own in [false, true] {
        for (index, words) in SCHEMES.iter().enumerate() {
            let folder = Folder::new(&content);
            let report = folder.quantize(&Request { own, ..request(words) }, "out").unwrap();
            let scheme: Scheme = words.parse().unwrap();
            let expected = encode(&values, ROWS, COLUMNS, &scheme).unwrap().decode();
            assert_eq!(folder.back("out")["layer.weight"], expected, "{words} {own}");

            let file = Source::open(&folder.path("out/model.safetensors")).unwrap();
            let on_disk = file.tensors().iter().filter(|(name, _)| name.starts_with("layer.weight"));
            let on_disk: u64 = on_disk.map(|(_, entry)| entry.bytes()).sum();
            let mut form = Form::new(scheme);
            if own && form.layout != Layout::Dense {
                form.layout = Layout::Own;
            }
            assert_eq!(form.bytes(ROWS, COLUMNS), on_disk, "{words}");
            assert_eq!((report.rows.len(), report.rows[0].bytes), (1, on_disk), "{words}");
            if own && form.layout == Layout::Own {
                let bits = scheme.bits(ROWS, COLUMNS);
                assert!(8 * on_disk >= bits && 8 * on_disk < bits + 16, "{words}: {on_disk} {bits}");
            }
            for name in ["in.safetensors", "back.safetensors"].map(|name| folder.path(name)) {
                let file = Source::open(&name).unwrap();
                for (name, dtype, shape, bytes) in &content[1..] {
                    let entry = &file.tensors()[*name];
                    assert_eq!((entry.dtype, &entry.shape), (*dtype, shape), "{name}");
                    assert_eq!(file.all(entry).unwrap(), *bytes, "{name} {index}");
                }
            }
        }
    }
}

/// More rows than a piece holds, in half precision and in blocks that end in the middle.
#[test]
fn pieces_of_a_large_weight_join_without_a_seam() {
    let (rows, columns) = (1500, 701);
    let values = numbers(rows * columns, 7);
    let half: Vec<u8> = values.iter().flat_map(|x| half::bf16::from_f32(*x).to_le_bytes()).collect();
    let values: Vec<f32> = values.iter().map(|x| half::bf16::from_f32(*x).to_f32()).collect();
    let content = vec![("w.weight", Dtype::BF16, vec![rows, columns], half)];
    let words = [
        "int3 group=32 affine",
        "int5 tensor affine",
        "ternary",
        "nvfp4",
        "int4 block=128x64 affine",
        "nf4",
        "q5_1",
        "tf32",
    ];
    for own in [false, true] {
        for words in words {
            let folder = Folder::new(&content);
            folder.quantize(&Request { own, ..request(words) }, "out").unwrap();
            let expected = encode(&values, rows, columns, &words.parse().unwrap()).unwrap().decode();
            assert!(folder.back("out")["w.weight"] == expected, "{words} {own}");
        }
    }
}

#[test]
fn equal_requests_give_equal_bytes() {
    let folder = Folder::new(&content());
    for out in ["a", "b"] {
        folder.quantize(&request("int4 group=32"), out).unwrap();
    }
    for name in ["config.json", "model.safetensors", "quantize.json"] {
        let read = |out: &str| std::fs::read(folder.path(out).join(name)).unwrap();
        assert_eq!(read("a"), read("b"), "{name}");
    }
    assert_eq!(std::fs::read_dir(folder.path("a")).unwrap().count(), 3);
    assert_eq!(std::fs::read_dir(folder.folder.path()).unwrap().count(), 3, "nothing temporary stays");
}

#[test]
fn the_report_and_the_configuration_say_what_is_on_disk() {
    let folder = Folder::new(&content());
    folder.quantize(&request("int4 group=32"), "out").unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.path("out").join(name)).unwrap();
    let rows: serde_json::Value = serde_json::from_str(&read("quantize.json")).unwrap();
    let row = rows[0].as_object().unwrap();
    assert_eq!(
        row.keys().map(String::as_str).collect::<std::collections::BTreeSet<_>>(),
        ["tensor", "sqnr", "bpw", "bytes"].into_iter().collect()
    );
    // 4 bits a weight, a scale of 4 bytes and a zero point of 4 bits for each of 3 groups (rows filled to 56), and 16
    // bytes of sizes.
    let expected = ROWS * COLUMNS / 2 + ROWS * 3 * 4 + 56 / 2 * 3 + 16;
    assert_eq!(row["bytes"], expected);
    assert_eq!(row["bpw"], 8.0 * expected as f64 / (ROWS * COLUMNS) as f64);
    let config: serde_json::Value = serde_json::from_str(&read("config.json")).unwrap();
    let package = &config["quantization_config"];
    assert_eq!(package["quant_method"], "compressed-tensors");
    assert_eq!(package["format"], "pack-quantized");
    assert_eq!(package["config_groups"]["group_0"]["targets"], serde_json::json!(["layer"]));
    assert_eq!(package["ignore"], serde_json::json!(["empty", "fp8"]));
}

/// A model's description beside the checkpoint goes along, but for what it said of quantization.
#[test]
fn the_models_configuration_goes_along() {
    let folder = Folder::new(&content());
    let said =
        r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 96, "quantization_config": {"bits": 4}}"#;
    std::fs::write(folder.path("config.json"), said).unwrap();
    folder.quantize(&request("int4 group=32"), "out").unwrap();
    let config = std::fs::read(folder.path("out/config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["architectures"][0], "LlamaForCausalLM");
    assert_eq!(config["hidden_size"], 96);
    assert_eq!(config["quantization_config"]["quant_method"], "compressed-tensors");
    assert!(config["quantization_config"]["bits"].is_null());
    folder.back("out");
}

#[test]
fn what_is_ignored_stays() {
    let folder = Folder::new(&content());
    let request = Request { ignore: Some(ignore("^layer").unwrap()), ..request("int4 group=32") };
    let report = folder.quantize(&request, "out").unwrap();
    assert!(report.rows.is_empty());
    assert_eq!(folder.back("out")["layer.weight"], numbers(ROWS * COLUMNS, 1));
    assert!(ignore("(").unwrap_err().to_string().contains("--ignore"));
}

#[test]
fn what_the_package_cannot_load_is_said() {
    let folder = Folder::new(&content());
    for (words, said) in [
        ("int4 group=32", None),
        ("int4 group=40", Some("a group of 40 does not divide its 96 columns")),
        ("nf4", Some("it has no layout for `nf4`")),
        ("tq2_0", Some("it has no layout")),
        ("bf16", None),
    ] {
        let report = folder.quantize(&request(words), words).unwrap();
        match said {
            Some(said) => {
                assert!(report.notes.len() == 1 && report.notes[0].contains(said), "{words}: {report:?}")
            }
            None => assert!(report.notes.is_empty(), "{report:?}"),
        }
    }
    let file = Source::open(&folder.path("int4 group=40/model.safetensors")).unwrap();
    assert_eq!(file.tensors()["layer.weight_scale"].shape, [ROWS, 3]);
    assert_eq!(file.tensors()["layer.weight_packed"].shape, [ROWS, 12]);
}

#[test]
fn wrong_numbers_and_folders_are_refused_and_nothing_is_written() {
    let mut content = content();
    content[0].3[40..44].copy_from_slice(&f32::NAN.to_le_bytes());
    let folder = Folder::new(&content);
    for words in ["int4 group=32", "int4 tensor", "nvfp4"] {
        let error = folder.quantize(&request(words), "out").unwrap_err();
        let said = "`layer.weight` cannot be quantized: expected finite numbers, found NaN at position 10";
        assert_eq!(error.to_string(), said);
    }
    assert!(!folder.path("out").exists());
    assert_eq!(std::fs::read_dir(folder.folder.path()).unwrap().count(), 1);

    std::fs::create_dir(folder.path("out")).unwrap();
    std::fs::write(folder.path("out/mine"), "").unwrap();
    let error = folder.quantize(&request("int4 group=32"), "out").unwrap_err();
    assert!(matches!(error, Error::FileExists { .. }), "{error}");
    let error = dequantize(&folder.path("out"), &folder.path("back.safetensors")).unwrap_err();
    assert!(error.to_string().contains("found no safetensors file"), "{error}");
    let error = quantize(&folder.path("out"), &request("int4 group=32"), &folder.path("new")).unwrap_err();
    assert!(error.to_string().contains("it is a folder"), "{error}");
}

#[test]
fn a_folder_whose_tensors_are_not_what_it_says_is_refused() {
    let folder = Folder::new(&content());
    folder.quantize(&request("int4 group=32"), "out").unwrap();
    let path = folder.path("out/config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("int4 group=32 affine", "int4 group=16 affine")).unwrap();
    let error = dequantize(&folder.path("out"), &folder.path("back.safetensors")).unwrap_err().to_string();
    assert!(
        error.contains(
            "expected `layer.weight_scale` of type F32 and shape [50, 6], found F32 of shape [50, 3]"
        ),
        "{error}"
    );
    assert!(!folder.path("back.safetensors").exists());
}

#[test]
fn names_that_meet_are_refused() {
    let mut content = content();
    content.push(("layer.weight_scale", Dtype::F32, vec![1], bytes(&[1.0])));
    let folder = Folder::new(&content);
    let error = folder.quantize(&request("int4 group=32"), "out").unwrap_err();
    assert!(error.to_string().contains("two tensors would be named `layer.weight_scale`"), "{error}");
}

/// A budget takes the best that fits, never more.
#[test]
fn a_budget_is_kept_and_used() {
    let content = vec![
        ("a.weight", Dtype::F32, vec![64, 128], bytes(&numbers(64 * 128, 1))),
        ("b.weight", Dtype::F32, vec![96, 256], bytes(&numbers(96 * 256, 2))),
        ("c.weight", Dtype::F32, vec![33, 70], bytes(&numbers(33 * 70, 3))),
    ];
    let folder = Folder::new(&content);
    let mut last = 0.0;
    for bits in ["3", "4.2", "6", "10", "40"] {
        let target = Target::Budget(format!("{bits} bpw").parse().unwrap());
        let report = folder.quantize(&Request { target, ..request("int4 channel") }, bits).unwrap();
        let bits: f64 = bits.parse().unwrap();
        assert!(report.bpw() <= bits, "{bits}: {}", report.bpw());
        assert!(report.bpw() > 0.97 * bits.min(32.0), "{bits}: {}", report.bpw());
        let bytes: u64 = report.rows.iter().map(|row| row.bytes).sum();
        assert_eq!(bytes, report.bytes);
        let noise: f64 =
            report.rows.iter().map(|row| row.sqnr.map_or(0.0, |sqnr| 10_f64.powf(-sqnr / 10.0))).sum();
        assert!(last == 0.0 || noise < last || noise == 0.0, "{bits}: {noise} {last}");
        last = noise;
        folder.back(&format!("{bits}"));
    }
    let target = Target::Budget("1 bpw".parse().unwrap());
    let error = folder.quantize(&Request { target, ..request("int4 channel") }, "x").unwrap_err();
    assert!(matches!(error, Error::BudgetTooSmall { .. }), "{error}");
}

/// HQQ from pieces is HQQ of the whole, with integer zero points and with float ones.
#[test]
fn hqq_in_pieces_is_hqq() {
    let (rows, columns) = (900, 640);
    let values: Vec<f32> = numbers(rows * columns, 5).iter().map(|x| x * x * 10.0).collect();
    let folder = Folder::new(&vec![("w.weight", Dtype::F32, vec![rows, columns], bytes(&values))]);
    let grid = Grid::new(4, Some(64), Symmetry::Affine).unwrap();
    let weight = Matrix::new("weight", rows, columns, &values).unwrap();
    for own in [false, true] {
        let request = Request { method: Method::Hqq, own, ..request("int4 group=64") };
        let out = if own { "own" } else { "package" };
        let report = folder.quantize(&request, out).unwrap();
        let expected = match own {
            true => hqq(weight, &grid, &Hqq::default()).unwrap().dequantize(),
            false => hqq_integer(weight, &grid, &Hqq::default()).unwrap().0.dequantize(),
        };
        assert!(folder.back(out)["w.weight"] == expected);
        assert_eq!(report.notes.is_empty(), !own);
    }
}

fn error(weight: &[f32], decoded: &[f32], inputs: &[f32], columns: usize) -> f64 {
    let mut sum = 0.0;
    for (w, d) in weight.chunks(columns).zip(decoded.chunks(columns)) {
        for x in inputs.chunks(columns) {
            let y: f64 = w.iter().zip(d).zip(x).map(|((w, d), x)| f64::from(w - d) * f64::from(*x)).sum();
            sum += y * y;
        }
    }
    sum
}

/// Methods that know inputs give outputs that are closer, from inputs and from their Hessian.
#[test]
fn methods_with_inputs_keep_outputs_better() {
    let (rows, columns, tokens) = (24, 64, 200);
    let values = numbers(rows * columns, 5);
    let source = numbers(tokens * columns, 9);
    // Neighbors are alike, and some columns are large.
    let input = |(index, x): (usize, &f32)| {
        let large = if index % columns % 9 == 0 { 6.0 } else { 1.0 };
        large * (x + if index > 0 { 0.8 * source[index - 1] } else { 0.0 })
    };
    let inputs: Vec<f32> = source.iter().enumerate().map(input).collect();
    let mut hessian = vec![0_f64; columns * columns];
    for x in inputs.chunks(columns) {
        for i in 0..columns {
            for j in 0..columns {
                hessian[i * columns + j] += 2.0 / tokens as f64 * f64::from(x[i]) * f64::from(x[j]);
            }
        }
    }
    let folder = Folder::new(&vec![("w.weight", Dtype::F32, vec![rows, columns], bytes(&values))]);
    let given = vec![("w.weight.inputs", Dtype::F32, vec![tokens, columns], bytes(&inputs))];
    write(&folder.path("inputs"), &given);
    let hessian: Vec<u8> = hessian.iter().flat_map(|x| x.to_le_bytes()).collect();
    write(&folder.path("hessian"), &vec![("w.hessian", Dtype::F64, vec![columns, columns], hessian)]);
    folder.quantize(&request("int3 group=32"), "rtn").unwrap();
    let measured = |out: &str| error(&values, &folder.back(out)["w.weight"], &inputs, columns);
    let nearest = measured("rtn");
    for (method, own, most) in [
        (Method::Gptq, false, 0.7),
        (Method::Gptq, true, 0.7),
        (Method::Awq, false, 0.99),
        (Method::Awq, true, 0.95),
    ] {
        let mut all = Vec::new();
        for file in ["inputs", "hessian"] {
            let out = format!("{} {own} {file}", method.name());
            let inputs = Some(Inputs::open(&folder.path(file)).unwrap());
            let request = Request { method, own, inputs, ..request("int3 group=32") };
            folder.quantize(&request, &out).unwrap();
            all.push(measured(&out) / nearest);
        }
        assert!(all.iter().all(|share| *share < most), "{method:?} {own}: {all:?}");
    }

    let request = |method| Request { method, ..request("int3 group=32") };
    let error = folder.quantize(&request(Method::Gptq), "x").unwrap_err();
    assert!(matches!(error, Error::NeedsInputs { .. }), "{error}");
    write(&folder.path("other"), &vec![("v.inputs", Dtype::F32, vec![1, 1], bytes(&[1.0]))]);
    let inputs = |name: &str| Some(Inputs::open(&folder.path(name)).unwrap());
    let error =
        folder.quantize(&Request { inputs: inputs("other"), ..request(Method::Gptq) }, "x").unwrap_err();
    assert!(error.to_string().contains("has neither `w.weight.inputs` nor `w.weight.hessian`"), "{error}");
    write(&folder.path("short"), &vec![("w.inputs", Dtype::F32, vec![3, 5], bytes(&numbers(15, 1)))]);
    let error =
        folder.quantize(&Request { inputs: inputs("short"), ..request(Method::Awq) }, "x").unwrap_err();
    assert_eq!(
        error.to_string(),
        "`w.inputs` must be floats of shape [tokens, 64], found F32 of shape [3, 5]"
    );
}

#[test]
fn methods_refuse_schemes_that_they_cannot_do() {
    for (method, words) in [
        (Method::Hqq, "nf4 group=64"),
        (Method::Hqq, "int4 group=32 symmetric"),
        (Method::Gptq, "int4 tensor"),
        (Method::Awq, "int4 group=32 scale=fp16"),
        (Method::Rtn, "int8 token"),
    ] {
        let error = method.form(words.parse().unwrap(), false).unwrap_err();
        assert!(matches!(error, Error::QuantizeOption { .. }), "{words}: {error}");
    }
    let error = "gpt".parse::<Method>().unwrap_err().to_string();
    assert_eq!(error, "`--method` takes `rtn`, `hqq`, `gptq`, `awq`, found `gpt`; did you mean `gptq`?");
}

/// Whoever has weights from elsewhere writes the same folder.
#[test]
fn the_writer_takes_weights_from_anywhere() {
    let folder = Folder::new(&content());
    folder.quantize(&request("int4 group=32"), "file").unwrap();
    let scheme: Scheme = "int4 group=32".parse().unwrap();
    let mut plan = BTreeMap::new();
    for (name, dtype, shape, _) in content() {
        let planned = match name {
            "layer.weight" => {
                Planned::Coded { form: Form::new(scheme), rows: ROWS, columns: COLUMNS, tensor: None, dtype }
            }
            _ => Planned::Kept { dtype, shape, counted: false },
        };
        plan.insert(name.to_owned(), planned);
    }
    let mut writer = Writer::create(&folder.path("own"), plan, &BTreeMap::new()).unwrap();
    let values = numbers(ROWS * COLUMNS, 1);
    let encoded = encode(&values, ROWS, COLUMNS, &scheme).unwrap();
    writer.rows("layer.weight", &Coded::from(encoded), &values).unwrap();
    for (name, _, _, bytes) in &content()[1..] {
        writer.keep(name, bytes).unwrap();
    }
    writer.finish().unwrap();
    for name in ["config.json", "model.safetensors", "quantize.json"] {
        let read = |out: &str| std::fs::read(folder.path(out).join(name)).unwrap();
        assert!(read("file") == read("own"), "{name}");
    }

    let plan = BTreeMap::from([(
        "a".to_owned(),
        Planned::Kept { dtype: Dtype::F32, shape: vec![2], counted: false },
    )]);
    let mut writer = Writer::create(&folder.path("half"), plan, &BTreeMap::new()).unwrap();
    writer.keep("a", &[0; 4]).unwrap();
    assert!(writer.keep("a", &[0; 8]).is_err(), "more than planned");
    assert!(writer.finish().is_err(), "less than planned");
    assert!(!folder.path("half").exists());
}

/// A folder that compressed-tensors 0.20 wrote means the numbers that it reads from it.
#[test]
fn folders_of_the_package_are_read_as_it_reads_them() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/compressed_tensors");
    let folder = tempfile::tempdir().unwrap();
    let back = folder.path().join("back.safetensors");
    let done = dequantize(&golden, &back).unwrap();
    assert!(done.weights >= 14, "{done:?}");
    let (found, expected) =
        (tensors::read(&back).unwrap(), tensors::read(&golden.join("decoded.safetensors.data")).unwrap());
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, expected) in expected {
        let (Numbers::F32(found), Numbers::F32(expected)) = (&found[&name].numbers, expected.numbers) else {
            panic!("{name} is no f32")
        };
        // The package rounds scales and values of fp4 and fp6 to bfloat16.
        let exact = !["nvfp4", "mxfp4", "mxfp6"].iter().any(|word| name.starts_with(word));
        let most = |b: f32| if exact { 0.0 } else { b.abs() / 128.0 };
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= most(*b);
        assert!(found.iter().zip(&expected).all(near), "{name}");
    }
}
