// Sound in the browser: played as it comes, drawn, and written as a WAV file to send.
let context;

// Browsers let a page sound only after a key or a click, so there is no context before one.
function sounding() {
  context ??= new AudioContext();
  if (context.state === "suspended") context.resume();
  return context;
}

// To be called where a key or a click is handled, so that what comes later may sound.
export function unlock() {
  sounding();
}

export class Player {
  constructor(changed) {
    this.changed = changed;
    this.rate = 24000;
    this.samples = new Float32Array(0);
    this.filled = 0;
    this.place = 0; // samples, where it is or would go on
    this.nodes = [];
    this.playing = false;
  }

  // Bytes of a WAV file of 16 bits, as they come.
  async fill(stream) {
    const reader = stream.getReader();
    let rest = new Uint8Array(0), header = true;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      let bytes = new Uint8Array(rest.length + value.length);
      bytes.set(rest);
      bytes.set(value, rest.length);
      if (header) {
        const start = soundBegins(bytes);
        if (start === null) {
          rest = bytes;
          continue;
        }
        const view = new DataView(bytes.buffer);
        this.rate = view.getUint32(24, true);
        this.samples = new Float32Array(view.getUint32(start - 4, true) / 2);
        bytes = bytes.slice(start);
        header = false;
      }
      const whole = bytes.length >> 1;
      const view = new DataView(bytes.buffer, bytes.byteOffset, 2 * whole);
      for (let n = 0; n < whole && this.filled < this.samples.length; n++) {
        this.samples[this.filled++] = view.getInt16(2 * n, true) / 32768;
      }
      rest = bytes.slice(2 * whole);
      if (this.playing) this.schedule();
      this.changed();
    }
  }

  play(from = this.place) {
    this.stop();
    const context = sounding();
    this.playing = true;
    this.begun = from >= this.samples.length && this.samples.length ? 0 : from;
    this.scheduled = this.begun;
    this.zero = null; // the context's time at which the first sample is heard
    this.context = context;
    this.schedule();
    this.clock = setInterval(() => this.tick(), 50);
  }

  // Hands over all that has come since.
  schedule() {
    const count = this.filled - this.scheduled;
    if (count <= 0) return;
    const buffer = this.context.createBuffer(1, count, this.rate);
    buffer.copyToChannel(this.samples.subarray(this.scheduled, this.filled), 0);
    const node = this.context.createBufferSource();
    node.buffer = buffer;
    node.connect(this.context.destination);
    const soonest = this.context.currentTime + 0.02;
    let at = this.zero === null ? soonest : this.zero + (this.scheduled - this.begun) / this.rate;
    if (at < soonest) at = soonest; // it came too late: what follows moves on
    this.zero = at - (this.scheduled - this.begun) / this.rate;
    node.start(at);
    this.nodes.push(node);
    this.scheduled = this.filled;
  }

  tick() {
    if (this.zero !== null) {
      const heard = Math.max(this.context.currentTime - this.zero, 0) * this.rate;
      this.place = Math.min(this.begun + heard, this.scheduled);
      if (this.samples.length && this.place >= this.samples.length) {
        this.stop();
        this.place = 0;
      }
    }
    this.changed();
  }

  stop() {
    clearInterval(this.clock);
    for (const node of this.nodes) {
      node.onended = null;
      node.stop();
      node.disconnect();
    }
    this.nodes = [];
    this.playing = false;
    this.changed();
  }

  seek(share) {
    this.place = Math.min(share * this.samples.length, this.filled);
    if (this.playing) this.play(this.place);
    else this.changed();
  }
}

// Where the samples of a WAV file begin; null as long as its header is not whole.
function soundBegins(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 12; at + 8 <= bytes.length; ) {
    const name = String.fromCharCode(...bytes.subarray(at, at + 4));
    if (name === "data") return at + 8;
    at += 8 + view.getUint32(at + 4, true);
  }
  return null;
}

// Both canvases are as sharp as the screen is.
function sharp(canvas) {
  const width = Math.max(Math.round(canvas.clientWidth * devicePixelRatio), 1);
  const height = Math.max(Math.round(canvas.clientHeight * devicePixelRatio), 1);
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  return [canvas.getContext("2d"), width, height];
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// The waveform, what was played of it, and regions [from, to] in shares of its length.
export function drawWave(canvas, samples, filled, played = 0, regions = []) {
  const [pen, width, height] = sharp(canvas);
  pen.clearRect(0, 0, width, height);
  if (!samples.length) return;
  for (const [from, to] of regions) {
    pen.fillStyle = colour("--line");
    pen.fillRect(from * width, 0, (to - from) * width, height);
  }
  const each = samples.length / width, stride = Math.max(Math.floor(each / 64), 1);
  for (let x = 0; x < width; x++) {
    const first = Math.floor(x * each), last = Math.min(Math.floor((x + 1) * each), filled);
    if (first >= filled) break;
    let most = 0;
    for (let n = first; n < last; n += stride) most = Math.max(most, Math.abs(samples[n]));
    pen.fillStyle = colour(first < played ? "--played" : "--wave");
    const tall = Math.max(most * height, devicePixelRatio);
    pen.fillRect(x, (height - tall) / 2, 1, tall);
  }
}

const SIZE = 1024;
const WINDOW = Float32Array.from({ length: SIZE }, (_, n) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / SIZE));

// Loudness of the bins of a frame, by a Fourier transform in place.
function spectrum(samples, start) {
  const real = new Float32Array(SIZE), imaginary = new Float32Array(SIZE);
  for (let n = 0, bits = Math.log2(SIZE); n < SIZE; n++) {
    let other = 0;
    for (let b = 0; b < bits; b++) other |= ((n >> b) & 1) << (bits - 1 - b);
    real[other] = (samples[start + n] ?? 0) * WINDOW[n];
  }
  for (let half = 1; half < SIZE; half *= 2) {
    for (let k = 0; k < half; k++) {
      const angle = (-Math.PI * k) / half, c = Math.cos(angle), s = Math.sin(angle);
      for (let n = k; n < SIZE; n += 2 * half) {
        const m = n + half;
        const re = real[m] * c - imaginary[m] * s, im = real[m] * s + imaginary[m] * c;
        real[m] = real[n] - re;
        imaginary[m] = imaginary[n] - im;
        real[n] += re;
        imaginary[n] += im;
      }
    }
  }
  return real.subarray(0, SIZE / 2).map((re, k) => Math.log10(re * re + imaginary[k] * imaginary[k] + 1e-9));
}

// The spectrogram from column `from` on, low notes below, an octave as tall as any other; returns the next column.
export function drawSpectrum(canvas, samples, filled, from) {
  if (from === 0) sharp(canvas);
  const pen = canvas.getContext("2d"), { width, height } = canvas;
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const each = samples.length / width;
  let x = from;
  for (; x < width && (x + 1) * each <= filled; x++) {
    const bins = spectrum(samples, Math.floor(x * each));
    const column = pen.createImageData(1, height);
    for (let y = 0; y < height; y++) {
      const bin = 2 * (SIZE / 4) ** (1 - y / height);
      const level = Math.min(Math.max((bins[Math.min(Math.round(bin), bins.length - 1)] + 3.5) / 7, 0), 1);
      const tone = dark ? level : 1 - level;
      column.data.set([255 * tone ** 1.4, 255 * tone ** 1.2, 255 * tone ** 0.8, 255], 4 * y);
    }
    pen.putImageData(column, x, 0);
  }
  return x;
}

// The samples of a file that the browser can read, mono.
export async function decoded(blob) {
  const buffer = await sounding().decodeAudioData(await blob.arrayBuffer());
  const mono = new Float32Array(buffer.length);
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    const samples = buffer.getChannelData(channel);
    for (let n = 0; n < mono.length; n++) mono[n] += samples[n] / buffer.numberOfChannels;
  }
  return { samples: mono, rate: buffer.sampleRate };
}

// A WAV file of 16 bits.
export function wavOf({ samples, rate }) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, letters) => [...letters].forEach((letter, n) => view.setUint8(at + n, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((sample, n) => view.setInt16(44 + 2 * n, Math.max(-1, Math.min(1, sample)) * 32767, true));
  return new Blob([view], { type: "audio/wav" });
}
