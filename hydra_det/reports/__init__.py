"""From records to what people read; nothing here needs torch. Each room stands on those above it.

runs          what lies in folders, as one frame with a row a run
paper/        the paper's own numbers
statistics/   cells, comparisons, tests, and what runs answer to claims
figures/      curves, forests, layers, learning curves, sample images
tables/       for the terminal, for papers and for spreadsheets
page/         one HTML page of all of it; how it looks is in page/templates/
"""
