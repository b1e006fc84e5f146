"""Where a path or URI lies: a local disk, an object store (s3://, gs://), or Hugging Face (hf://)."""

from pathlib import Path

from pyarrow import fs


def locate(uri: str) -> tuple[fs.FileSystem, str]:
    """The file system of a path or URI and the path in it.

    hf://datasets/OWNER/NAME/PATH are the files of a data set on the Hugging Face Hub.

    Raises:
        ValueError, OSError: no such file system, or it cannot be reached.
    """
    if "://" not in uri:
        return fs.LocalFileSystem(), str(Path(uri).expanduser().resolve())
    if uri.startswith("hf://"):
        from huggingface_hub import HfFileSystem

        return fs.PyFileSystem(fs.FSSpecHandler(HfFileSystem())), uri.removeprefix("hf://")
    return fs.FileSystem.from_uri(uri)


def make_folder(filesystem: fs.FileSystem, path: str) -> None:
    """Make a folder and those above it; what is there already stays.

    Raises:
        OSError: it cannot be made.
    """
    if filesystem.type_name != "gcs":
        filesystem.create_dir(path)
        return
    # With those above it at once, Arrow would ask for the bucket itself, a right beyond those to
    # its objects that Ray's account lacks. Below a folder that is there it does not.
    try:
        filesystem.create_dir(path, recursive=False)
    except OSError:
        above = path.rpartition("/")[0]
        if "/" not in above:
            raise
        make_folder(filesystem, above)
        filesystem.create_dir(path, recursive=False)
