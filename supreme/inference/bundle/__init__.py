"""The bundle: a trained model as a folder of safetensors, JSON and text that answers text queries about ECGs.

No file of a bundle is code or pickle. ``MLmodel`` makes it an MLflow model whose loader is the installed
package, and holds the sha256 of every other file. `writer` writes one, `files` reads and verifies the bytes,
`loader` makes a model of verified bytes.
"""

from __future__ import annotations

from supreme.inference.bundle.files import files_of as files_of
from supreme.inference.bundle.files import verify as verify
from supreme.inference.bundle.layout import DOWNLOAD_NOTE as DOWNLOAD_NOTE
from supreme.inference.bundle.layout import FILES as FILES
from supreme.inference.bundle.layout import BundleError as BundleError
from supreme.inference.bundle.writer import write_bundle as write_bundle
