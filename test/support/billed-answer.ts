/**
 * Streams of a Claude API on a clock of its own, each with what it has cost at any moment by the price table: also what
 * no client is told of an answer that was broken off.
 */
import fc from 'fast-check';
import { MODELS, type Model } from '#edge/claude/models/models.ts';
import { type Piece, piecesOf, TEXTS } from './tokenizers.ts';

type Json = Record<string, unknown>;

interface StreamEvent {
  /** Milliseconds after the request was sent. */
  at: number;
  text: string;
}

export interface BilledAnswer {
  kind: Kind;
  model: string;
  /** The request's body as it goes up. */
  body: Json;
  /** What counting the prompt tells, where the edge would ask. */
  count: number | undefined;
  events: readonly StreamEvent[];
  /** @returns what the API bills if the connection is closed then; nanodollars */
  billedAt(at: number): number;
}

export const KINDS = [
  'text',
  'code',
  'json',
  'chinese',
  'digits',
  'hidden thinking',
  'shown thinking',
  'tools',
  'empty tools',
  'search',
  'fetch',
  'advisor',
  'compaction',
  'fallback',
  'cache',
  'steps',
  'quick',
] as const;
export type Kind = (typeof KINDS)[number];

/** What a random answer is made of. */
export interface Plan {
  kind: Kind;
  model: string;
  geography: 'us' | 'global';
  tokenizer: 'claude' | 'cl100k' | 'o200k';
  promptTokens: number;
  /** Of what is written, in tokens. */
  length: number;
  perDelta: number;
  ttftMs: number;
  /** As a share of the most that the price table has for a model. */
  pace: number;
  rounds: number;
  resultTokens: number;
}

export const planOf = (kind: Kind): fc.Arbitrary<Plan> =>
  fc.record({
    kind: fc.constant(kind),
    model:
      kind === 'steps'
        ? fc.constant('claude-haiku-5-5')
        : fc.constantFrom('claude-opus-5-5', 'claude-sonnet-5-5', 'claude-haiku-4-5-20251001', 'claude-fable-5-1'),
    geography: fc.constantFrom('us' as const, 'global' as const),
    tokenizer: fc.constantFrom('claude' as const, 'cl100k' as const, 'o200k' as const),
    promptTokens:
      kind === 'compaction' ? fc.integer({ min: 150_000, max: 180_000 }) : fc.integer({ min: 300, max: 6_000 }),
    length: fc.integer({ min: 100, max: 1_200 }),
    perDelta: fc.integer({ min: 1, max: 6 }),
    ttftMs: fc.integer({ min: 200, max: 2_000 }),
    pace: fc.integer({ min: 50, max: 95 }).map((percent) => percent / 100),
    rounds: fc.integer({ min: 1, max: 6 }),
    resultTokens: fc.integer({ min: 500, max: 4_000 }),
  });

const PIECES = new Map<string, Piece[]>();

function pieces(text: string, by: Plan['tokenizer']): Piece[] {
  const key = `${by}:${text.slice(0, 64)}`;
  let known = PIECES.get(key);
  if (!known) {
    known = piecesOf(text.repeat(Math.ceil(4_000 / text.length)), by);
    PIECES.set(key, known);
  }
  return known;
}

const TEXT_OF: Partial<Record<Kind, keyof typeof TEXTS>> = {
  code: 'code',
  json: 'json',
  chinese: 'chinese',
  digits: 'digits',
};
const RATE = 500;
const MOMENT_MS = 0.01;
const OTHER = 'claude-opus-5';
/** Just below where Haiku becomes dearer. */
const LONG_PROMPT = 90_000;

/** Writes the events of a stream, and notes what each moment costs. */
class Writer {
  readonly events: StreamEvent[] = [];
  now: number;
  /** What is billed at a moment, and what grows while something is written that is not shown. */
  readonly #charges: { at: number; nanodollars: number; until?: number }[] = [];
  #index = 0;
  /** What has been written since the first prompt, in tokens. */
  written = 0;
  /** The model that writes now, where it is not the one that was asked for. */
  answering: string | undefined;
  readonly #plan: Plan;

  constructor(plan: Plan) {
    this.#plan = plan;
    this.now = plan.ttftMs;
  }

  row(id = this.#plan.model): Model {
    const row = MODELS.find((one) => one.id === id);
    if (!row) throw new Error(`no such model: ${id}`);
    return row;
  }

  /** Bills tokens just behind what was shown last. */
  bill(tokens: number, usdPerMillion: number): void {
    this.now += MOMENT_MS;
    const us = this.#plan.geography === 'us' ? 1.1 : 1;
    this.#charges.push({ at: this.now, nanodollars: tokens * usdPerMillion * 1_000 * us });
  }

  fee(nanodollars: number): void {
    this.now += MOMENT_MS;
    this.#charges.push({ at: this.now, nanodollars });
  }

  event(data: Json): void {
    this.events.push({ at: this.now, text: `event: ${String(data.type)}\ndata: ${JSON.stringify(data)}\n\n` });
  }

  start(usage: Json): void {
    const message = { id: 'msg_1', type: 'message', role: 'assistant', model: this.#plan.model, content: [] };
    this.event({
      type: 'message_start',
      message: {
        ...message,
        stop_reason: null,
        usage: { output_tokens: 1, inference_geo: this.#plan.geography, ...usage },
      },
    });
  }

  block(content_block: Json, inside: () => void = () => {}): void {
    const index = this.#index++;
    this.event({ type: 'content_block_start', index, content_block });
    inside();
    this.event({ type: 'content_block_stop', index });
  }

  /** Writes tokens that are shown, a delta at a time. */
  show(source: readonly Piece[], tokens: number, delta: (text: string) => Json, pace = this.#plan.pace): void {
    const { perDelta, model } = this.#plan;
    let from = 0;
    for (let left = tokens; left > 0; ) {
      const group = Array.from({ length: perDelta }, (_, at) => source[(from + at) % source.length] as Piece);
      from += perDelta;
      const count = group.reduce((sum, piece) => sum + piece.tokens, 0);
      left -= count;
      this.now += (count / (RATE * pace)) * 1_000;
      this.written += count;
      this.bill(count, this.row(this.answering ?? model).prices.output);
      this.event({
        type: 'content_block_delta',
        index: this.#index - 1,
        delta: delta(group.map(({ text }) => text).join('')),
      });
    }
  }

  /** Writes tokens that nobody sees, evenly. */
  hide(tokens: number, usdPerMillion = this.row().prices.output): void {
    const us = this.#plan.geography === 'us' ? 1.1 : 1;
    const until = this.now + (tokens / (RATE * this.#plan.pace)) * 1_000;
    this.#charges.push({ at: this.now, until, nanodollars: tokens * usdPerMillion * 1_000 * us });
    this.now = until;
    this.written += tokens;
  }

  text(tokens: number, pace?: number): void {
    const text = TEXTS[TEXT_OF[this.#plan.kind] ?? 'prose'] ?? '';
    const said = (piece: string): Json => ({ type: 'text_delta', text: piece });
    this.block({ type: 'text', text: '' }, () => this.show(pieces(text, this.#plan.tokenizer), tokens, said, pace));
  }

  call(name: string, id: number, input: number, type = 'tool_use'): void {
    // The name, and what frames a call.
    this.written += 20;
    this.bill(20, this.row().prices.output);
    const said = (partial_json: string): Json => ({ type: 'input_json_delta', partial_json });
    this.block({ type, id: `toolu_${id}`, name, input: {} }, () => {
      if (input > 0) this.show(pieces(TEXTS.json ?? '', this.#plan.tokenizer), input, said);
    });
  }

  end(usage: Json): void {
    this.now += 5;
    this.event({
      type: 'message_delta',
      delta: { stop_reason: 'end_turn', stop_sequence: null },
      usage: { output_tokens: this.written, ...usage },
    });
    this.event({ type: 'message_stop' });
  }

  billedAt(at: number): number {
    return this.#charges.reduce((sum, { at: from, until, nanodollars }) => {
      if (at < from) return sum;
      const share = until === undefined || at >= until ? 1 : (at - from) / (until - from);
      return sum + nanodollars * share;
    }, 0);
  }
}

/** @returns the answer that a plan comes to. */
export function billedAnswer(plan: Plan): BilledAnswer {
  const { kind, promptTokens, length, rounds, resultTokens, pace, tokenizer } = plan;
  const writer = new Writer(plan);
  const { prices } = writer.row();
  // A prompt whose bytes are about four for each of its tokens, as prose has them.
  const inPrompt = kind === 'steps' ? LONG_PROMPT + promptTokens : promptTokens;
  const content = (TEXTS.prose ?? '').repeat(Math.ceil((inPrompt * 4.2) / (TEXTS.prose ?? '').length));
  const body: Json = {
    model: plan.model,
    max_tokens: 32_000,
    stream: true,
    messages: [{ role: 'user', content }],
  };
  const answer = { kind, model: plan.model, body, count: undefined as number | undefined };
  const base = { input_tokens: promptTokens, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 };
  const done = (): BilledAnswer => ({ ...answer, events: writer.events, billedAt: (at) => writer.billedAt(at) });
  // A prompt is paid for once it is read, which may be just after it was sent.
  writer.now = 0;
  if (kind !== 'cache' && kind !== 'steps' && kind !== 'compaction') writer.bill(promptTokens, prices.input);
  writer.now = plan.ttftMs;

  switch (kind) {
    case 'hidden thinking': {
      body.thinking = { type: 'adaptive', display: 'omitted' };
      writer.start(base);
      writer.block({ type: 'thinking', thinking: '', signature: '' }, () => writer.hide(length * 6));
      writer.text(length);
      writer.end({});
      return done();
    }
    case 'shown thinking': {
      body.thinking = { type: 'adaptive', display: 'summarized' };
      writer.start(base);
      writer.block({ type: 'thinking', thinking: '', signature: '' }, () => {
        for (let part = 0; part < 10; part += 1) {
          writer.hide(Math.ceil((length * 6) / 10));
          writer.event({
            type: 'content_block_delta',
            index: 0,
            delta: { type: 'thinking_delta', thinking: 'A summary of it. ' },
          });
        }
      });
      writer.text(length);
      writer.end({});
      return done();
    }
    case 'tools':
    case 'empty tools': {
      body.tools = [{ name: 'get_weather', description: 'Current weather', input_schema: { type: 'object' } }];
      writer.start(base);
      if (kind === 'tools') writer.text(Math.ceil(length / 4));
      const calls = kind === 'tools' ? rounds : 60;
      for (let call = 0; call < calls; call += 1) writer.call('get_weather', call, kind === 'tools' ? 30 : 0);
      writer.end({});
      return done();
    }
    case 'search':
    case 'fetch':
    case 'steps': {
      const isFetch = kind === 'fetch';
      const name = isFetch ? 'web_fetch' : 'web_search';
      body.tools = [{ type: `${name}_20260209`, name, max_uses: 8, ...(isFetch ? { max_content_tokens: 5_000 } : {}) }];
      const first = kind === 'steps' ? LONG_PROMPT + promptTokens : promptTokens;
      if (kind === 'steps') answer.count = first;
      const priced = (tokens: number) =>
        prices.long_prompt && tokens > prices.long_prompt.above_tokens ? prices.long_prompt : prices;
      if (kind === 'steps') writer.bill(first, priced(first).input);
      writer.start({ ...base, input_tokens: first });
      const iterations: Json[] = [];
      let prompt = first;
      let came = 0;
      let written = 0;
      const step = () => {
        iterations.push({
          type: 'message',
          model: plan.model,
          input_tokens: prompt,
          output_tokens: writer.written - written,
        });
        written = writer.written;
      };
      for (let round = 0; round < rounds; round += 1) {
        writer.call(name, round, 15, 'server_tool_use');
        if (!isFetch) writer.fee(10_000_000);
        step();
        writer.now += 700;
        // Results are written in full, or encrypted; either has some characters for each token.
        const text = isFetch
          ? pieces(TEXTS.prose ?? '', tokenizer)
              .slice(0, resultTokens)
              .map((piece) => piece.text)
              .join('')
          : 'aB3+'.repeat(Math.ceil(resultTokens / 1.6));
        const tokens = isFetch
          ? pieces(TEXTS.prose ?? '', tokenizer)
              .slice(0, resultTokens)
              .reduce((sum, piece) => sum + piece.tokens, 0)
          : resultTokens;
        const result = isFetch
          ? {
              type: 'web_fetch_result',
              url: 'https://example.com',
              content: { type: 'document', source: { type: 'text', data: text } },
            }
          : [{ type: 'web_search_result', url: 'https://example.com', title: 'A page', encrypted_content: text }];
        writer.block({ type: `${name}_tool_result`, tool_use_id: `toolu_${round}`, content: result });
        came += tokens;
        prompt = first + writer.written + came;
        writer.bill(prompt, priced(prompt).input);
        writer.now += 300;
      }
      writer.text(length);
      step();
      const total = iterations.reduce((sum, one) => sum + Number(one.input_tokens), 0);
      writer.end({
        input_tokens: total,
        iterations,
        server_tool_use: isFetch ? { web_fetch_requests: rounds } : { web_search_requests: rounds },
      });
      return done();
    }
    case 'advisor': {
      body.tools = [{ type: 'advisor_20260301', name: 'advisor', model: OTHER, max_uses: 2, max_tokens: 4_000 }];
      const other = writer.row(OTHER).prices;
      writer.start(base);
      writer.text(length);
      writer.call('advisor', 0, 0, 'server_tool_use');
      const read = promptTokens + writer.written;
      writer.bill(read, other.input);
      const before = writer.written;
      writer.hide(resultTokens, other.output);
      writer.written = before;
      writer.block({
        type: 'advisor_tool_result',
        tool_use_id: 'toolu_0',
        content: { type: 'advisor_redacted_result', encrypted_content: 'x'.repeat(resultTokens) },
      });
      const prompt = promptTokens + writer.written + resultTokens;
      writer.bill(prompt, prices.input);
      writer.text(length);
      const advice = { type: 'advisor_message', model: OTHER, input_tokens: read, output_tokens: resultTokens };
      writer.end({ input_tokens: promptTokens + prompt, iterations: [advice] });
      return done();
    }
    case 'compaction': {
      body.compaction = { type: 'auto' };
      answer.count = promptTokens;
      writer.now = 0;
      writer.bill(promptTokens, prices.input);
      writer.now = plan.ttftMs;
      const kept = 3_000;
      writer.start({ ...base, input_tokens: kept });
      writer.block({ type: 'compaction', content: '' }, () => writer.hide(resultTokens));
      const summary = writer.written;
      writer.written = 0;
      writer.bill(kept, prices.input);
      writer.text(length);
      const beside = { type: 'compaction', input_tokens: promptTokens, output_tokens: summary };
      const own = { type: 'message', model: plan.model, input_tokens: kept, output_tokens: writer.written };
      writer.end({ input_tokens: kept, iterations: [beside, own] });
      return done();
    }
    case 'fallback': {
      body.fallbacks = [{ model: OTHER }];
      const other = writer.row(OTHER).prices;
      writer.start(base);
      writer.hide(length * 2);
      const declined = writer.written;
      const hop = { from: { model: plan.model }, to: { model: OTHER }, trigger: { type: 'refusal' } };
      writer.block({ type: 'fallback', ...hop });
      writer.bill(promptTokens, other.input);
      const before = writer.written;
      writer.answering = OTHER;
      writer.text(length);
      const attempts = [
        { type: 'message', model: plan.model, input_tokens: promptTokens, output_tokens: declined },
        { type: 'fallback_message', model: OTHER, input_tokens: promptTokens, output_tokens: writer.written - before },
      ];
      writer.end({ input_tokens: promptTokens, output_tokens: writer.written - before, iterations: attempts });
      return done();
    }
    case 'cache': {
      const read = Math.floor(promptTokens / 3);
      const written = Math.floor(promptTokens / 2);
      const rest = promptTokens - read - written;
      const hour = rounds % 2 === 0;
      body.cache_control = { type: 'ephemeral', ttl: hour ? '1h' : '5m' };
      writer.now = 0;
      writer.bill(rest, prices.input);
      writer.bill(read, prices.cache_read);
      writer.bill(written, hour ? prices.cache_write_1h : prices.cache_write_5m);
      writer.now = plan.ttftMs;
      const split = hour
        ? { ephemeral_5m_input_tokens: 0, ephemeral_1h_input_tokens: written }
        : { ephemeral_5m_input_tokens: written, ephemeral_1h_input_tokens: 0 };
      writer.start({
        input_tokens: rest,
        cache_read_input_tokens: read,
        cache_creation_input_tokens: written,
        cache_creation: split,
      });
      writer.text(length);
      writer.end({ input_tokens: rest, cache_read_input_tokens: read, cache_creation_input_tokens: written });
      return done();
    }
    default: {
      writer.start(base);
      writer.text(length, kind === 'quick' ? pace + 2 : pace);
      writer.end({});
      return done();
    }
  }
}
