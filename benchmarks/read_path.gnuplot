# SPDX-License-Identifier: Apache-2.0
#
# Draws the output of read_path_gates as one pair of bars for each pattern:
#
#   bazel run -c opt //benchmarks:read_path_gates | tee gates.txt
#   gnuplot -c benchmarks/read_path.gnuplot gates.txt docs/read_path.png

set terminal pngcairo noenhanced size 1200,640 font 'sans,11'
set output ARG2
set datafile separator '|'

# The rows of the table before the first gate: name|1 thread|2 threads.
rows = "< sed -E '/^(holds|FAILS|n\\/a|\\?)/,$d; /^ns per read|disturbed$/d; " \
     . "s/ +([0-9.]+) +([0-9.]+)$/|\\1|\\2/' " . ARG1

set title 'Wall time per read over all threads, ns (logarithmic; lower is better)'
stats rows using 2 nooutput
set logscale x
set xrange [0.5:2000]
set yrange [STATS_records - 0.4:-0.6]
set border 3
set tics nomirror
set grid xtics lc rgb '#dddddd'
set key top right
set lmargin 38
set style fill solid noborder

plot rows using 2:0:(0.5):2:($0-0.36):($0):ytic(1) with boxxyerror lc rgb '#1a7f37' title '1 thread', \
     rows using 3:0:(0.5):3:($0):($0+0.36) with boxxyerror lc rgb '#8250df' title '2 threads', \
     rows using 2:($0-0.18):(sprintf(' %.1f', $2)) with labels left notitle, \
     rows using 3:($0+0.18):(sprintf(' %.1f', $3)) with labels left notitle
