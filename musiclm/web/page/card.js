// A piece that was asked for: how far it is, its sound, and what can be done with it.
import { ask, watch, withToken } from "./api.js";
import { drawSpectrum, drawWave, Player } from "./sound.js";
import { words } from "./words.js";

export class Card {
  // `again(asked)` asks for the same with another seed; `use(way, card)` takes the piece as a recording.
  constructor(template, job, asked, { again, use }) {
    this.job = job;
    this.element = template.content.firstElementChild.cloneNode(true);
    const find = (name) => this.element.querySelector(name);
    this.parts = Object.fromEntries(
      ["h2", ".state", ".play", ".time", ".wave", ".spectrum", ".notices", ".wav", ".flac", ".remove"].map((name) => [
        name.replace(".", ""), find(name),
      ]),
    );
    this.finished = [...this.element.querySelectorAll(".again, .continue, .inpaint, .melody, .wav, .flac")];
    this.parts.h2.textContent = job.title;
    this.player = new Player(() => this.draw());
    this.drawn = 0;
    this.parts.play.onclick = () => (this.player.playing ? this.player.stop() : this.player.play());
    find(".again").onclick = () => again(asked);
    for (const way of ["continue", "inpaint", "melody"]) find(`.${way}`).onclick = () => use(way, this);
    this.parts.remove.onclick = () => this.remove();
    this.parts.wave.setAttribute("aria-label", words.position);
    this.parts.wave.onclick = (event) => this.player.seek(event.offsetX / this.parts.wave.clientWidth);
    this.parts.wave.onkeydown = (event) => this.key(event);
    this.parts.wav.href = withToken(`v1/jobs/${job.id}/file.wav`);
    this.parts.flac.href = withToken(`v1/jobs/${job.id}/file.flac`);
    this.unwatch = watch(job.id, (now) => this.change(now), () => this.fail(words.unreachable));
    this.change(job);
  }

  change(job) {
    this.job = job;
    const { state } = job;
    const line =
      state === "waiting" ? words.waiting(job.position)
      : state === "making" ? words.making(job.stage, Math.round(100 * job.share))
      : state === "failed" ? words.failed(job.message)
      : words[state];
    this.parts.state.textContent = `${line} ${words.seed_is(job.seed)}`.trim();
    this.parts.notices.textContent = job.notices.join(" ");
    this.parts.remove.textContent = state === "waiting" || state === "making" ? words.cancel : words.remove;
    for (const part of this.finished) part.hidden = state !== "done";
    this.parts.play.hidden = state === "failed" || state === "cancelled";
    if ((state === "making" || state === "done") && !this.listening) this.listen();
    this.draw();
  }

  async listen() {
    this.listening = true;
    try {
      const answer = await ask("GET", `v1/jobs/${this.job.id}/audio`);
      if (this.wanted) this.player.play(0);
      await this.player.fill(answer.body);
    } catch {
      // a piece that was given up or has failed says so itself
    }
    this.draw();
  }

  // Let it be heard as soon as there is something.
  hear() {
    this.wanted = true;
  }

  draw() {
    const { player, parts } = this;
    parts.play.textContent = player.playing ? words.pause : words.play;
    parts.play.disabled = !player.filled && !player.playing;
    const seconds = (samples) => (samples / player.rate).toFixed(1);
    parts.time.textContent = player.samples.length ? `${seconds(player.place)} / ${seconds(player.samples.length)} s` : "";
    parts.wave.setAttribute("aria-valuenow", seconds(player.place));
    parts.wave.setAttribute("aria-valuemin", "0");
    parts.wave.setAttribute("aria-valuemax", seconds(player.samples.length));
    parts.wave.hidden = parts.spectrum.hidden = !player.samples.length;
    drawWave(parts.wave, player.samples, player.filled, player.place);
    if (player.samples.length) this.drawn = drawSpectrum(parts.spectrum, player.samples, player.filled, this.drawn);
  }

  key(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    if (event.key === " ") this.parts.play.click();
    else if (event.key in steps) {
      const to = this.player.place / this.player.rate + steps[event.key];
      const all = this.player.samples.length / this.player.rate;
      this.player.seek(Math.min(Math.max(to / all, 0), 1));
    } else return;
    event.preventDefault();
  }

  fail(why) {
    this.parts.state.textContent = why;
  }

  remove() {
    this.unwatch();
    this.player.stop();
    ask("DELETE", `v1/jobs/${this.job.id}`).catch(() => {});
    this.element.remove();
  }
}
