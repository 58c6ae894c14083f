#!/bin/sh
# From nothing to weights, thresholds and model card.   sh reproduce.sh pyradiomics-3.0.1.tar.gz WORK_DIR
set -eu
archive=$1 work=$2
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1   # two processes of one thread each are faster than one of two
mkdir -p "$work"

python phantom.py --seeds 0 300 --step 2 --out "$work/phantoms" &
python phantom.py --seeds 1 300 --step 2 --out "$work/phantoms"
wait
python real_background.py --archive "$archive" --seeds 0 110 --out "$work/real" &
python train.py coarse --pool "$work/phantoms" --out "$work/coarse.pt" &
python train.py fine --pool "$work/phantoms" --out "$work/blind.pt" --steps 900
wait

for case in lung1 lung2; do
    python train.py finetune --pool "$work/phantoms" --pool "$work/real" --init "$work/blind.pt" --coarse "$work/coarse.pt" \
        --without $case --out "$work/without_$case.pt" &
done
wait
python blend.py "$work/without_lung1.pt" "$work/without_lung2.pt" --out ../models/model.pt

python phantom.py --held-out --seeds 0 300 --out "$work/test" &
python phantom.py --held-out --seeds 1000 1100 --out "$work/tuning"
wait
python evaluate.py phantoms --held-out "$work/test" --records "$work/test.json" &
python evaluate.py phantoms --held-out "$work/tuning" --records "$work/tuning.json"
wait
for case in lung1 lung2; do
    python evaluate.py real --archive "$archive" --case $case --weights "$work/without_$case.pt" --records "$work/$case.json"
done
python summarise.py --phantoms "$work/test.json" --tuning "$work/tuning.json" --real "$work/lung1.json" --real "$work/lung2.json" \
    --training "$work/coarse.json" --training "$work/blind.json" --training "$work/without_lung1.json" \
    --training "$work/without_lung2.json"
python card.py
