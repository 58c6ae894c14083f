#!/bin/sh
# From nothing to weights, thresholds and model card.   sh reproduce.sh WORK_DIR
# What WORK_DIR already holds is not made again: a run that was interrupted goes on where it stopped.
set -eu
work=$1
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 # two processes of one thread each are faster than one of two
archive=$work/pyradiomics-3.0.1.tar.gz
mkdir -p "$work"

make_once() { # make_once FILE COMMAND...: the command writes FILE as its last act
    target=$1
    shift
    [ -e "$target" ] || "$@"
}

[ -e "$archive" ] || unearth 'pyradiomics==3.0.1' --no-binary -d "$work"
python phantom.py --seeds 0 300 --step 2 --out "$work/phantoms" &
python phantom.py --seeds 1 300 --step 2 --out "$work/phantoms"
wait

make_once "$work/blind.json" python train.py fine --pool "$work/phantoms" --out "$work/blind.pt" &
make_once "$work/coarse.json" python train.py coarse --pool "$work/phantoms" --out "$work/coarse.pt"
python real_background.py --archive "$archive" --seeds 0 140 --out "$work/real"
wait

for case in lung1 lung2; do
    make_once "$work/without_$case.json" python train.py finetune --pool "$work/phantoms" --pool "$work/real" \
        --init "$work/blind.pt" --coarse "$work/coarse.pt" --without $case --out "$work/without_$case.pt" &
done
wait
python blend.py "$work/without_lung1.pt" "$work/without_lung2.pt" --out ../models/model.pt

# Two halves of the test phantoms beside each other, and the tuning phantoms after one of them
python phantom.py --held-out --seeds 0 150 --out "$work/test_a" &
python phantom.py --held-out --seeds 150 300 --out "$work/test_b"
python phantom.py --held-out --seeds 1000 1080 --out "$work/tuning"
wait
judge_phantoms() {
    make_once "$work/$1.json" python evaluate.py phantoms --held-out "$work/$1" --records "$work/$1.json"
}
{ judge_phantoms tuning; judge_phantoms test_a; } &
judge_phantoms test_b
for case in lung1 lung2; do
    python evaluate.py real --archive "$archive" --case $case --weights "$work/without_$case.pt" --records "$work/$case.json"
done
wait
python summarise.py --phantoms "$work/test_a.json" --phantoms "$work/test_b.json" --tuning "$work/tuning.json" \
    --real "$work/lung1.json" --real "$work/lung2.json" --training "$work/coarse.json" --training "$work/blind.json" \
    --training "$work/without_lung1.json" --training "$work/without_lung2.json"
python card.py
