"""Reading totesys: catalogue, snapshot, changed rows, deletions.

The parts of a table, here of 24 blocks:

    blocks    0 1 2 3 4 5 6 7 8 9 …                         23
    sections  |---|---|---|---|---|---|---|---|---|---|---|---|
    ranges    |-------|-------|-------|-------|-------|-------|
    pieces    |-----------------------|-----------------------|

block     a page of the table's file, 8 kB. A row stays in its block until it is updated, or the
          whole table is rewritten.
position  a row's block and its number in the block, as one integer; PostgreSQL's `ctid`.
member    a partition or child table, whose rows belong to the table. Each has blocks of its own: a
          range of the table has the blocks with the same numbers in every member.
section   blocks whose rows are counted together. If the count shows that rows were deleted, the
          keys of the section are read (deletions.py).
range     the rows between two positions, which one statement reads: usually whole blocks; fewer
          rows if they are very wide or can't be read together (ranges.py, reading.py).
chunk     what that statement returned: the rows of a range as JSON Lines (changes.py).
piece     ranges that one connection or process reads one after the other (splitting.py, scan.py).
file      JSON Lines in the ingestion store: the rows of a piece, some of them, or what remains of
          all pieces of a table (pieces.py).
attempt   one try to capture a batch. A later attempt for the same batch uses the pieces of large
          tables that an earlier one has stored (resuming.py).

A bucket is not a part of a table, but a set of keys: it serves to find a key that two rows have.
"""
