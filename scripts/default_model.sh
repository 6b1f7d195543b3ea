#!/bin/sh
# The default model from nothing: render → fit tokenizers → tokenize → fit stages → pack.
#
#   make default-model                    on two CPU cores, about eight hours
#   RUNS=/big/disk make default-model     elsewhere than runs/default
#   HOURS=40 make default-model           more music; MELODY_HOURS=20 more melodies; LABEL_HOURS=400 more plans
#   SIZE=configs/paper make default-model with the settings of a folder of overrides, one YAML per part
#
# Every step is skipped when its result exists, and training goes on from its last checkpoint: kill it at
# any time and start it again. Two steps at a time, one core each; where there is a GPU they share it.
set -eu

BIN=${BIN:-.venv/bin}
RUNS=${RUNS:-runs/default}
HOURS=${HOURS:-20}
MELODY_HOURS=${MELODY_HOURS:-4}
LABEL_HOURS=${LABEL_HOURS:-100}
SIZE=${SIZE:-}
OUT=${OUT_BUNDLE:-musiclm/bundles/default}
case "$RUNS$OUT" in *" "*) echo "expected folders without spaces, got $RUNS and $OUT" >&2; exit 2 ;; esac
mkdir -p "$RUNS"
codec=low_band # the codec with its low band; overrides that have none are of a trunk without spectra
[ -z "$SIZE" ] || [ -e "$SIZE/low_band.yaml" ] || codec=soundstream
diffusion=yes # beside the coarse and the fine stage; overrides that have no latents are MusicLM's own
[ -z "$SIZE" ] || [ -e "$SIZE/latents.yaml" ] || diffusion=

fit() { # fit PART [argument ...]: the run's folder is $RUNS/PART, its log $RUNS/PART.log
	part=$1
	shift
	[ -e "$RUNS/$part/part/model.yaml" ] && return
	echo "fit $part: see $RUNS/$part.log"
	if [ -n "$SIZE" ] && [ -e "$SIZE/$part.yaml" ]; then
		set -- --config "$SIZE/$part.yaml" "$@"
	else
		# shellcheck disable=SC2046  # words without spaces
		set -- $(ends "$part") "$@"
	fi
	storage=int8
	[ "$part" != latents ] || storage=float32 # 24 directions, which all sound goes through
	"$BIN/musiclm" fit --config "configs/$part.yaml" "$@" --threads 1 --storage "$storage" \
		--trainer.default_root_dir "$RUNS/$part" >>"$RUNS/$part.log" 2>&1 || true
	[ -e "$RUNS/$part/part/model.yaml" ] || { echo "$part was not trained: see $RUNS/$part.log"; return 1; }
}

ends() { # ends PART: what ends its training, whichever comes first: the recipe keeps to its eight hours
	case $1 in
	semantic) echo --trainer.max_steps 4000 --trainer.max_time 00:02:45:00 ;;
	coarse) echo --trainer.max_steps 12000 --trainer.max_time 00:00:40:00 ;;
	fine) echo --trainer.max_steps 6000 --trainer.max_time 00:00:12:00 ;;
	denoiser) echo --trainer.max_steps 12000 --trainer.max_time 00:03:30:00 ;;
	esac
}

together() { # together "COMMAND" "COMMAND": both at once; fails if one does, and stops both when it is stopped
	trap 'trap "" INT TERM; kill -TERM 0; exit 130' INT TERM
	($1) & first=$!
	($2) & second=$!
	status=0
	wait $first || status=$?
	wait $second || status=$?
	return $status
}

acoustic_and_semantic_tokenizers() {
	fit soundstream --data.init_args.audio "$RUNS/corpus"
	[ "$codec" = soundstream ] ||
		fit "$codec" --data.init_args.audio "$RUNS/corpus" --model.init_args.codec "$RUNS/soundstream/part"
	fit w2v_bert --data.init_args.audio "$RUNS/corpus"
	fit kmeans --data.init_args.audio "$RUNS/corpus" --model.init_args.w2v_bert "$RUNS/w2v_bert/part"
}

embeddings() {
	fit mulan --data.init_args.audio "$RUNS/corpus"
	fit mulan_rvq --data.init_args.audio "$RUNS/corpus" --model.init_args.mulan "$RUNS/mulan/part"
	fit melody --data.init_args.melodies "$RUNS/melodies"
	fit melody_rvq --data.init_args.melodies "$RUNS/melodies" --model.init_args.melody "$RUNS/melody/part"
	fit score_listener --data.init_args.audio "$RUNS/corpus"
}

coarse_and_fine() {
	fit coarse --data.init_args.tokens "$RUNS/tokens"
	fit fine --data.init_args.tokens "$RUNS/tokens"
}

latents_and_denoiser() {
	fit latents --data.init_args.tokens "$RUNS/tokens"
	fit denoiser --data.init_args.tokens "$RUNS/tokens" --model.init_args.autoencoder "$RUNS/latents/part"
}

semantic_and_planner() {
	# Half of the crops are told words, which MusicLM has not: paper-size runs, without a denoiser, keep to MusicLM.
	fit semantic --data.init_args.tokens "$RUNS/tokens" \
		${diffusion:+--data.init_args.captions 0.5 --data.init_args.joint_embedding $RUNS/mulan/part}
	fit planner --data.init_args.tokens "$RUNS/tokens" --data.init_args.labels "$RUNS/labels"
}

"$BIN/musiclm" corpus render --hours "$HOURS" --out "$RUNS/corpus"
"$BIN/musiclm" corpus melodies --hours "$MELODY_HOURS" --out "$RUNS/melodies"
[ -e "$RUNS/labels/corpus.parquet" ] || "$BIN/musiclm" corpus labels --hours "$LABEL_HOURS" --seed 1 --out "$RUNS/labels"

together acoustic_and_semantic_tokenizers embeddings

tokenizers=
for part in "$codec" w2v_bert kmeans mulan mulan_rvq melody melody_rvq score_listener; do
	tokenizers="$tokenizers $RUNS/$part/part"
done
# shellcheck disable=SC2086  # the paths hold no spaces
"$BIN/musiclm" bundle pack $tokenizers --out "$RUNS/tokenizers"
"$BIN/musiclm" tokenize "$RUNS/corpus" --bundle "$RUNS/tokenizers" --out "$RUNS/tokens"

stages() {
	semantic_and_planner
	coarse_and_fine
}

# The denoiser takes about as long as all stages.
if [ -n "$diffusion" ]; then
	together stages latents_and_denoiser
else
	together semantic_and_planner coarse_and_fine
fi

parts=
for part in semantic planner coarse fine ${diffusion:+latents denoiser}; do
	parts="$parts $RUNS/$part/part"
done
# shellcheck disable=SC2086  # the paths hold no spaces
"$BIN/musiclm" bundle pack "$RUNS/tokenizers" $parts --settings configs/generation.yaml --out "$OUT"
