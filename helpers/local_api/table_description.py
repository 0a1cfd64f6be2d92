"""Code that says what a table holds: what the offline helper runs where a table is attached and no recording fits.

The code stands here as a person would write it in a notebook, because people see it: the standard library reads, matplotlib
draws. It copes with broken rows, other encodings and very large files. Not here: running it (``code_interpreter_tool.py``).
"""

from __future__ import annotations

from typing import Final

_CODE: Final = '''\
import csv, os, time

PATH = @PATH@
MOST_ROWS, MOST_SECONDS, MOST_POINTS = 300_000, 10, 2_000
csv.field_size_limit(10_000_000)

def rows_of_text():
    """Rows of a CSV or TSV file, in the first encoding that fits."""
    with open(PATH, "rb") as file:
        start = file.read(1_000_000)
    if start[:4] == b"PK\\x03\\x04":
        raise ValueError("it is a ZIP archive or an Excel file, whatever its name says")
    encoding = "utf-16" if start[:2] in (b"\\xff\\xfe", b"\\xfe\\xff") else "utf-8-sig"
    try:
        # The last characters may be cut in the middle.
        start[:-8].decode(encoding) if len(start) == 1_000_000 else start.decode(encoding)
    except UnicodeDecodeError:
        encoding = "cp1252"
        print("It is not UTF-8, so it was read as Windows-1252: letters with accents may be wrong.")
    if encoding != "utf-16" and b"\\0" in start:
        raise ValueError("it holds zero bytes, so it is no text")
    sample = start[:20_000].decode(encoding, "replace").split("\\n")[0]
    delimiter = max("\\t,;|", key=sample.count)
    with open(PATH, encoding=encoding, errors="replace", newline="") as file:
        yield from csv.reader(file, delimiter=delimiter)

def rows_of_excel():
    try:
        import openpyxl
    except ImportError:
        raise ValueError("reading Excel needs openpyxl, which is not installed here. Save the sheet as CSV") from None
    sheet = openpyxl.load_workbook(PATH, read_only=True, data_only=True).active
    for row in sheet.iter_rows(values_only=True):
        yield ["" if value is None else str(value) for value in row]

def number(text):
    value = float(text.replace(",", ".") if text.count(",") == 1 and "." not in text else text)
    if value != value or abs(value) == float("inf"):
        raise ValueError
    return value

def describe():
    rows = rows_of_excel() if PATH.lower().endswith(".xlsx") else rows_of_text()
    names = next((row for row in rows if any(row)), None)
    if names is None:
        raise ValueError("there is nothing in it")
    names = [name.strip() or f"column {place}" for place, name in enumerate(names, 1)]
    missing, texts, numbers = ([0] * len(names) for _ in range(3))
    low, high, total = [None] * len(names), [None] * len(names), [0.0] * len(names)
    kept, examples, broken, count, whole = [], [set() for _ in names], [], 0, True
    step, begin = 1, time.monotonic()
    for place, row in enumerate(rows, 2):
        if count >= MOST_ROWS or time.monotonic() - begin > MOST_SECONDS:
            whole = False
            break
        if not any(row):
            continue
        if len(row) != len(names):
            broken.append(place)
            continue
        count += 1
        values = [None] * len(names)
        for column, text in enumerate(row):
            text = text.strip()
            if text == "" or text.lower() in ("na", "nan", "null", "none"):
                missing[column] += 1
                continue
            try:
                value = values[column] = number(text)
            except ValueError:
                texts[column] += 1
                if len(examples[column]) < 4:
                    examples[column].add(text[:30])
                continue
            numbers[column] += 1
            total[column] += value
            low[column] = value if low[column] is None else min(low[column], value)
            high[column] = value if high[column] is None else max(high[column], value)
        if count % step == 0:
            kept.append((count, values))
            if len(kept) > 2 * MOST_POINTS:
                kept, step = kept[::2], step * 2
    size = os.path.getsize(PATH)
    print(f"{PATH}: {size:,} bytes, {'' if whole else 'the first '}{count:,} rows, {len(names)} columns")
    if not whole:
        print("It is large, so only its beginning was read.")
    if broken:
        shown = ", ".join(map(str, broken[:5])) + (" …" if len(broken) > 5 else "")
        print(f"{len(broken)} broken rows have another number of columns and were left out (rows {shown}).")
    for column, name in enumerate(names):
        if numbers[column] and not texts[column]:
            mean = total[column] / numbers[column]
            what = f"numbers from {low[column]:g} to {high[column]:g}, mean {mean:g}"
        elif numbers[column]:
            what = f"{numbers[column]:,} numbers and {texts[column]:,} texts, such as {min(examples[column])!r}"
        elif texts[column]:
            what = "texts, such as " + ", ".join(map(repr, sorted(examples[column])[:3]))
        else:
            what = "empty"
        print(f"- {name[:60]}: {what}; {missing[column]:,} missing")
    numeric = [column for column in range(len(names)) if numbers[column] > 1 and not texts[column]]
    return names, kept, numeric

def plot(names, kept, numeric):
    import matplotlib.pyplot as plt

    shown = numeric[:8]
    figure, axes = plt.subplots(len(shown), 1, figsize=(7, 1.8 * len(shown)), squeeze=False, sharex=True)
    for axis, column in zip(axes[:, 0], shown):
        points = [(row, values[column]) for row, values in kept if values[column] is not None]
        axis.plot([row for row, _ in points], [value for _, value in points], linewidth=1)
        axis.set_ylabel(names[column][:20].replace("$", r"\\$"))
    axes[-1, 0].set_xlabel("row")
    figure.suptitle("The numeric columns, row by row")
    figure.tight_layout()
    plt.show()

try:
    names, kept, numeric = describe()
    if numeric:
        plot(names, kept, numeric)
    else:
        print("No column holds only numbers, so there is no plot.")
except (ValueError, OSError, csv.Error) as error:
    print(f"{PATH} cannot be read as a table: {error}.")
'''


def description_code(path: str) -> str:
    """Return the code that prints what a table holds, and plots its numeric columns.

    Args:
        path: the table, relative to the folder in which the code runs. It is quoted, whatever is in it.
    """
    return _CODE.replace("@PATH@", repr(path))
