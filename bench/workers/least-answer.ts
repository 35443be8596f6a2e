const DELTA =
  'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"';
const DELTA_END = '"}}';

/** Reads the events of an answer: numbers them, shortens them for the log, and makes the message. */
export class Answer {
  shown = '';
  isComplete = false;
  outputTokens = 0;
  usage = '{}';
  readonly #id: string;
  #rest = '';
  #log: string[] = [];
  #events = 0;
  #logged = 0;
  #rows = 0;
  #said = '';

  constructor(id: string) {
    this.#id = id;
  }

  take(piece: string): void {
    const text = this.#rest + piece;
    let start = 0;
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n', start)) {
      this.#takeEvent(text, start, end);
      start = end + 2;
    }
    this.#rest = text.slice(start);
  }

  #takeEvent(text: string, start: number, end: number): void {
    this.#events += 1;
    const event = text.slice(start, end);
    this.shown += `id: ${this.#id}-${this.#events}\n${event}\n\n`;
    if (event.startsWith(DELTA)) {
      const said = event.slice(DELTA.length, -DELTA_END.length);
      this.#said += said;
      this.#log.push('\u0002', said, '\n');
      return;
    }
    this.#log.push('\u0003', event, '\n');
    const { type, usage } = JSON.parse(event.slice(event.indexOf('data: ') + 6)) as {
      type: string;
      usage?: { output_tokens: number };
    };
    if (type === 'message_stop') this.isComplete = true;
    if (type !== 'message_delta' || !usage) return;
    this.usage = JSON.stringify(usage);
    this.outputTokens = usage.output_tokens;
  }

  /** The message as JSON. */
  get message(): string {
    return `{"role":"assistant","content":[{"type":"text","text":"${this.#said}"}]}`;
  }

  takeShown(): string {
    const { shown } = this;
    this.shown = '';
    return shown;
  }

  takeLog(): { first: number; n: number; text: string } {
    const taken = { first: this.#logged + 1, n: this.#rows, text: this.#log.join('') };
    this.#log = [];
    this.#rows += 1;
    this.#logged = this.#events;
    return taken;
  }
}
