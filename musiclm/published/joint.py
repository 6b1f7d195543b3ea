"""`musiclm import clap` and `muq_mulan`: published joint embeddings as parts, to stand where MuLan does."""

from pathlib import Path

from musiclm.bundle import Storage, save_component


def clap(path: Path, out: Path = Path("runs/clap/part"), storage: Storage = "float32") -> None:
    """Make a part of a published LAION-CLAP, to pack in MuLan's place.

    Args:
        path: its folder, as `laion/larger_clap_music` is published.
        out: the folder of the part.
        storage: precision that its matrices are kept in.
    """
    from musiclm.tokenizers.clap import read_clap

    part, words = read_clap(path)
    class_path = "musiclm.tokenizers.clap.Clap"
    bundle = save_component(
        out, "joint_embedding", part, class_path=class_path, init_args=words, storage=storage
    )
    print(f"joint_embedding ({bundle.fingerprint()}), {part.dimension} dimensions: {bundle.path}")


def muq_mulan(
    path: Path, music: Path, text: Path, out: Path = Path("runs/muq_mulan/part"), storage: Storage = "float32"
) -> None:
    """Make a part of a published MuQ-MuLan, to pack in MuLan's place.

    Args:
        path: its folder, as `OpenMuQ/MuQ-MuLan-large` is published.
        music: the folder of its MuQ, `OpenMuQ/MuQ-large-msd-iter`; only config.json is read.
        text: the folder of its text model, `xlm-roberta-base`; only config.json and the tokenizer are read.
        out: the folder of the part.
        storage: precision that its matrices are kept in.
    """
    from musiclm.tokenizers.muq_mulan import read_muq_mulan

    part, words = read_muq_mulan(path, music=music, text=text)
    class_path = "musiclm.tokenizers.muq_mulan.MuQMuLan"
    bundle = save_component(
        out, "joint_embedding", part, class_path=class_path, init_args=words, storage=storage
    )
    print(f"joint_embedding ({bundle.fingerprint()}), {part.dimension} dimensions: {bundle.path}")
