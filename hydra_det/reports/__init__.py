"""From records to what people read. Nothing here needs torch.

records, runs                    what lies in folders -> one tidy frame, a row a run
cells, pairs, comparisons        frame -> cells, and how much two of them differ; the tests are in statistics
claims, answers                  what the paper and we claim, and what the runs say to it
cautions                         what not to believe
figures, forest, learning,       pictures; looks and colours are in style, their texts in captions
  layers, samples, front
summary, overview, explanation,  the page: its sentences, its tables, its HTML
  value_tables, markup, page
paper_tables, paper/             the paper's tables from our runs, and its own numbers
tables, terminal, search,        what the scripts print and draw
  robustness, corruptions, compaction
"""
