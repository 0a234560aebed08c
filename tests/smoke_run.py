"""One folder for the smoke runs of retrieval, anomaly detection and clustering, so that they train once."""

from vicreg_nb.config import make_config


def smoke_config(tmp_path_factory):
    """The smoke configuration in a folder that all tests of this session share; finished trainings in it are loaded."""
    return make_config("smoke", out=str(tmp_path_factory.getbasetemp() / "downstream"), device="cpu")
