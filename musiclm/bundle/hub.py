"""Bundles from the Hugging Face hub: asked once, with a limit to the time, and then one line."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

ANSWER_SECONDS = 6.0  # for the hub to say whether it has a repository, if the environment says nothing


def download(repository: str, patterns: list[str]) -> Path:
    """The folder with a repository's files; what is already in the hub's cache is not fetched again.

    Args:
        repository: its id, `owner/name`.
        patterns: of the names of its files to fetch.

    Raises:
        FileNotFoundError: there is no such repository, or no network and nothing in the cache.
        OSError: the cache cannot be written.
    """
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import HFValidationError

    chosen = "HF_HUB_ETAG_TIMEOUT" in os.environ
    seconds = float(constants.HF_HUB_ETAG_TIMEOUT) if chosen else ANSWER_SECONDS
    try:
        # Asked first by itself: what fetches the files would try for minutes where nobody answers.
        _within(seconds, lambda: HfApi().model_info(repository, timeout=seconds))
    except (OSError, HFValidationError) as error:
        try:
            return Path(snapshot_download(repository, allow_patterns=patterns, local_files_only=True))
        except (OSError, HFValidationError):
            raise FileNotFoundError(
                f"expected a bundle's name, a folder or a Hugging Face id; {repository!r} is no folder "
                f"and could not be fetched ({_cause(error)}): is there a network, is the id right?"
            ) from None
    try:
        return Path(snapshot_download(repository, allow_patterns=patterns))
    except OSError as error:
        raise OSError(
            f"expected to fetch {repository} into {constants.HF_HUB_CACHE} ({_cause(error)}): try again, or "
            "name another folder by HF_HOME"
        ) from None


def _within(seconds: float, work: Callable[[], object]) -> None:
    """Do `work` and wait for it; looking up a name can take minutes, and no timeout of the client covers it.

    Raises:
        TimeoutError: it takes longer.
    """
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"no answer within {seconds:g} s")
    if raised:
        raise raised[0]


def _cause(error: Exception) -> str:
    return str(error) if isinstance(error, TimeoutError) else type(error).__name__
