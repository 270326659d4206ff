# demo: the main job on the bundled clips · loco-demo: the whole study on tiny corpora made for it
# test: the whole suite · check: format, lint, types, tests · bench: speed and memory
# soak: long and many videos, and whether memory, files or threads grow with their number
# fuzz: damaged inputs by the thousand, for MINUTES=10 after the properties, which take about as long
