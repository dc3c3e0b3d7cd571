"""Build dist/totes-spark.tar.gz, the packages of jobs on EMR Serverless; one tree, the same bytes.

It has the packages of requirements.txt that commands need, for EMR's platform (ARM64, Python 3.12).
Python, Java and Spark are those of EMR's release; only the driver reads these packages.
"""

import gzip
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from bundle import ROOT, install_packages

PACKAGE = ROOT / "dist" / "totes-spark.tar.gz"

PLATFORM = "aarch64-manylinux_2_28"
"""The platform of the wheels: EMR's Amazon Linux 2023 has glibc 2.34."""


def pack(site: Path, target: Path) -> None:
    """Write the files of a folder as an archive that depends on them alone."""
    target.parent.mkdir(parents=True, exist_ok=True)
    incoming = target.with_suffix(".incoming")
    with (
        incoming.open("wb") as file,
        gzip.GzipFile("", "wb", 6, file, mtime=0) as compressed,
        tarfile.open(mode="w", fileobj=compressed, format=tarfile.USTAR_FORMAT) as archive,
    ):
        for path in sorted(path for path in site.rglob("*") if path.is_file()):
            entry = tarfile.TarInfo(path.relative_to(site).as_posix())
            entry.size = path.stat().st_size
            with path.open("rb") as content:
                archive.addfile(entry, content)
    incoming.replace(target)


def main() -> None:
    with TemporaryDirectory() as folder:
        site = Path(folder) / "packages"
        install_packages(site, PLATFORM)
        pack(site, PACKAGE)
    print(f"{PACKAGE.relative_to(ROOT)}: {PACKAGE.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
