/**
 * Streams of a Claude API on a clock of its own, each with what it has cost at any moment by the price table: also what
 * no client is told of an answer that was broken off.
 */
import fc from 'fast-check';
import { MODELS, type Model } from '#edge/claude/models/models.ts';
import { type Piece, splitIntoPieces, TEXTS } from './tokenizers.ts';

type Json = Record<string, unknown>;

interface StreamEvent {
  /** Milliseconds after the request was sent. */
  at: number;
  writeText: string;
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
  computeBillAt(at: number): number;
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
export interface AnswerPlan {
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

export const arbitraryPlan = (kind: Kind): fc.Arbitrary<AnswerPlan> =>
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

function textPieces(text: string, tokenizer: AnswerPlan['tokenizer']): Piece[] {
  const key = `${tokenizer}:${text.slice(0, 64)}`;
  let known = PIECES.get(key);
  if (!known) {
    known = splitIntoPieces(text.repeat(Math.ceil(4_000 / text.length)), tokenizer);
    PIECES.set(key, known);
  }
  return known;
}

const TEXT_BY_KIND: Partial<Record<Kind, keyof typeof TEXTS>> = {
  code: 'code',
  json: 'json',
  chinese: 'chinese',
  digits: 'digits',
};
const RATE = 500;
const MOMENT_MS = 0.01;
const OTHER_MODEL = 'claude-opus-5';
/** Just below where Haiku becomes dearer. */
const LONG_PROMPT_TOKENS = 90_000;

/** Writes the events of a stream, and notes what each moment costs. */
class Writer {
  readonly events: StreamEvent[] = [];
  now: number;
  /** What is billed at a moment, and what grows while something is written that is not shown. */
  readonly #charges: { at: number; nanodollars: number; until?: number }[] = [];
  #blockIndex = 0;
  /** What has been written since the first prompt, in tokens. */
  writtenTokens = 0;
  /** The model that writes now, where it is not the one that was asked for. */
  answeringModel: string | undefined;
  readonly #plan: AnswerPlan;

  constructor(plan: AnswerPlan) {
    this.#plan = plan;
    this.now = plan.ttftMs;
  }

  findModel(id = this.#plan.model): Model {
    const row = MODELS.find((one) => one.id === id);
    if (!row) throw new Error(`no such model: ${id}`);
    return row;
  }

  /** Bills tokens just behind what was shown last. */
  billTokens(tokens: number, usdPerMillion: number): void {
    this.now += MOMENT_MS;
    const us = this.#plan.geography === 'us' ? 1.1 : 1;
    this.#charges.push({ at: this.now, nanodollars: tokens * usdPerMillion * 1_000 * us });
  }

  billFee(nanodollars: number): void {
    this.now += MOMENT_MS;
    this.#charges.push({ at: this.now, nanodollars });
  }

  addEvent(data: Json): void {
    this.events.push({ at: this.now, writeText: `event: ${String(data.type)}\ndata: ${JSON.stringify(data)}\n\n` });
  }

  addMessageStart(usage: Json): void {
    const message = { id: 'msg_1', type: 'message', role: 'assistant', model: this.#plan.model, content: [] };
    this.addEvent({
      type: 'message_start',
      message: {
        ...message,
        stop_reason: null,
        usage: { output_tokens: 1, inference_geo: this.#plan.geography, ...usage },
      },
    });
  }

  addBlock(content_block: Json, inside: () => void = () => {}): void {
    const index = this.#blockIndex++;
    this.addEvent({ type: 'content_block_start', index, content_block });
    inside();
    this.addEvent({ type: 'content_block_stop', index });
  }

  /** Writes tokens that are shown, a delta at a time. */
  writeShown(source: readonly Piece[], tokens: number, delta: (text: string) => Json, pace = this.#plan.pace): void {
    const { perDelta, model } = this.#plan;
    let from = 0;
    for (let left = tokens; left > 0; ) {
      const group = Array.from({ length: perDelta }, (_, at) => source[(from + at) % source.length] as Piece);
      from += perDelta;
      const count = group.reduce((sum, piece) => sum + piece.tokens, 0);
      left -= count;
      this.now += (count / (RATE * pace)) * 1_000;
      this.writtenTokens += count;
      this.billTokens(count, this.findModel(this.answeringModel ?? model).prices.output);
      this.addEvent({
        type: 'content_block_delta',
        index: this.#blockIndex - 1,
        delta: delta(group.map(({ text }) => text).join('')),
      });
    }
  }

  /** Writes tokens that nobody sees, evenly. */
  writeHidden(tokens: number, usdPerMillion = this.findModel().prices.output): void {
    const us = this.#plan.geography === 'us' ? 1.1 : 1;
    const until = this.now + (tokens / (RATE * this.#plan.pace)) * 1_000;
    this.#charges.push({ at: this.now, until, nanodollars: tokens * usdPerMillion * 1_000 * us });
    this.now = until;
    this.writtenTokens += tokens;
  }

  text(tokens: number, pace?: number): void {
    const text = TEXTS[TEXT_BY_KIND[this.#plan.kind] ?? 'prose'] ?? '';
    const textDelta = (piece: string): Json => ({ type: 'text_delta', text: piece });
    this.addBlock({ type: 'text', text: '' }, () =>
      this.writeShown(textPieces(text, this.#plan.tokenizer), tokens, textDelta, pace),
    );
  }

  addToolCall(name: string, id: number, input: number, type = 'tool_use'): void {
    // The name, and what frames a call.
    this.writtenTokens += 20;
    this.billTokens(20, this.findModel().prices.output);
    const inputDelta = (partial_json: string): Json => ({ type: 'input_json_delta', partial_json });
    this.addBlock({ type, id: `toolu_${id}`, name, input: {} }, () => {
      if (input > 0) this.writeShown(textPieces(TEXTS.json ?? '', this.#plan.tokenizer), input, inputDelta);
    });
  }

  addMessageEnd(usage: Json): void {
    this.now += 5;
    this.addEvent({
      type: 'message_delta',
      delta: { stop_reason: 'end_turn', stop_sequence: null },
      usage: { output_tokens: this.writtenTokens, ...usage },
    });
    this.addEvent({ type: 'message_stop' });
  }

  computeBillAt(at: number): number {
    return this.#charges.reduce((sum, { at: from, until, nanodollars }) => {
      if (at < from) return sum;
      const share = until === undefined || at >= until ? 1 : (at - from) / (until - from);
      return sum + nanodollars * share;
    }, 0);
  }
}

/** @returns the answer that a plan comes to. */
export function createBilledAnswer(plan: AnswerPlan): BilledAnswer {
  const { kind, promptTokens, length, rounds, resultTokens, pace, tokenizer } = plan;
  const writer = new Writer(plan);
  const { prices } = writer.findModel();
  // A prompt whose bytes are about four for each of its tokens, as prose has them.
  const inPrompt = kind === 'steps' ? LONG_PROMPT_TOKENS + promptTokens : promptTokens;
  const content = (TEXTS.prose ?? '').repeat(Math.ceil((inPrompt * 4.2) / (TEXTS.prose ?? '').length));
  const body: Json = {
    model: plan.model,
    max_tokens: 32_000,
    stream: true,
    messages: [{ role: 'user', content }],
  };
  const answer = { kind, model: plan.model, body, count: undefined as number | undefined };
  const base = { input_tokens: promptTokens, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 };
  const finish = (): BilledAnswer => ({
    ...answer,
    events: writer.events,
    computeBillAt: (at) => writer.computeBillAt(at),
  });
  // A prompt is paid for once it is read, which may be just after it was sent.
  writer.now = 0;
  if (kind !== 'cache' && kind !== 'steps' && kind !== 'compaction') writer.billTokens(promptTokens, prices.input);
  writer.now = plan.ttftMs;

  switch (kind) {
    case 'hidden thinking': {
      body.thinking = { type: 'adaptive', display: 'omitted' };
      writer.addMessageStart(base);
      writer.addBlock({ type: 'thinking', thinking: '', signature: '' }, () => writer.writeHidden(length * 6));
      writer.text(length);
      writer.addMessageEnd({});
      return finish();
    }
    case 'shown thinking': {
      body.thinking = { type: 'adaptive', display: 'summarized' };
      writer.addMessageStart(base);
      writer.addBlock({ type: 'thinking', thinking: '', signature: '' }, () => {
        for (let part = 0; part < 10; part += 1) {
          writer.writeHidden(Math.ceil((length * 6) / 10));
          writer.addEvent({
            type: 'content_block_delta',
            index: 0,
            delta: { type: 'thinking_delta', thinking: 'A summary of it. ' },
          });
        }
      });
      writer.text(length);
      writer.addMessageEnd({});
      return finish();
    }
    case 'tools':
    case 'empty tools': {
      body.tools = [{ name: 'get_weather', description: 'Current weather', input_schema: { type: 'object' } }];
      writer.addMessageStart(base);
      if (kind === 'tools') writer.text(Math.ceil(length / 4));
      const calls = kind === 'tools' ? rounds : 60;
      for (let call = 0; call < calls; call += 1) writer.addToolCall('get_weather', call, kind === 'tools' ? 30 : 0);
      writer.addMessageEnd({});
      return finish();
    }
    case 'search':
    case 'fetch':
    case 'steps': {
      const isFetch = kind === 'fetch';
      const name = isFetch ? 'web_fetch' : 'web_search';
      body.tools = [{ type: `${name}_20260209`, name, max_uses: 8, ...(isFetch ? { max_content_tokens: 5_000 } : {}) }];
      const first = kind === 'steps' ? LONG_PROMPT_TOKENS + promptTokens : promptTokens;
      if (kind === 'steps') answer.count = first;
      const outputPriceOf = (tokens: number) =>
        prices.long_prompt && tokens > prices.long_prompt.above_tokens ? prices.long_prompt : prices;
      if (kind === 'steps') writer.billTokens(first, outputPriceOf(first).input);
      writer.addMessageStart({ ...base, input_tokens: first });
      const iterations: Json[] = [];
      let prompt = first;
      let came = 0;
      let written = 0;
      const writeStep = () => {
        iterations.push({
          type: 'message',
          model: plan.model,
          input_tokens: prompt,
          output_tokens: writer.writtenTokens - written,
        });
        written = writer.writtenTokens;
      };
      for (let round = 0; round < rounds; round += 1) {
        writer.addToolCall(name, round, 15, 'server_tool_use');
        if (!isFetch) writer.billFee(10_000_000);
        writeStep();
        writer.now += 700;
        // Results are written in full, or encrypted; either has some characters for each token.
        const text = isFetch
          ? textPieces(TEXTS.prose ?? '', tokenizer)
              .slice(0, resultTokens)
              .map((piece) => piece.text)
              .join('')
          : 'aB3+'.repeat(Math.ceil(resultTokens / 1.6));
        const tokens = isFetch
          ? textPieces(TEXTS.prose ?? '', tokenizer)
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
        writer.addBlock({ type: `${name}_tool_result`, tool_use_id: `toolu_${round}`, content: result });
        came += tokens;
        prompt = first + writer.writtenTokens + came;
        writer.billTokens(prompt, outputPriceOf(prompt).input);
        writer.now += 300;
      }
      writer.text(length);
      writeStep();
      const total = iterations.reduce((sum, one) => sum + Number(one.input_tokens), 0);
      writer.addMessageEnd({
        input_tokens: total,
        iterations,
        server_tool_use: isFetch ? { web_fetch_requests: rounds } : { web_search_requests: rounds },
      });
      return finish();
    }
    case 'advisor': {
      body.tools = [{ type: 'advisor_20260301', name: 'advisor', model: OTHER_MODEL, max_uses: 2, max_tokens: 4_000 }];
      const other = writer.findModel(OTHER_MODEL).prices;
      writer.addMessageStart(base);
      writer.text(length);
      writer.addToolCall('advisor', 0, 0, 'server_tool_use');
      const read = promptTokens + writer.writtenTokens;
      writer.billTokens(read, other.input);
      const before = writer.writtenTokens;
      writer.writeHidden(resultTokens, other.output);
      writer.writtenTokens = before;
      writer.addBlock({
        type: 'advisor_tool_result',
        tool_use_id: 'toolu_0',
        content: { type: 'advisor_redacted_result', encrypted_content: 'x'.repeat(resultTokens) },
      });
      const prompt = promptTokens + writer.writtenTokens + resultTokens;
      writer.billTokens(prompt, prices.input);
      writer.text(length);
      const advice = { type: 'advisor_message', model: OTHER_MODEL, input_tokens: read, output_tokens: resultTokens };
      writer.addMessageEnd({ input_tokens: promptTokens + prompt, iterations: [advice] });
      return finish();
    }
    case 'compaction': {
      body.compaction = { type: 'auto' };
      answer.count = promptTokens;
      writer.now = 0;
      writer.billTokens(promptTokens, prices.input);
      writer.now = plan.ttftMs;
      const kept = 3_000;
      writer.addMessageStart({ ...base, input_tokens: kept });
      writer.addBlock({ type: 'compaction', content: '' }, () => writer.writeHidden(resultTokens));
      const summary = writer.writtenTokens;
      writer.writtenTokens = 0;
      writer.billTokens(kept, prices.input);
      writer.text(length);
      const beside = { type: 'compaction', input_tokens: promptTokens, output_tokens: summary };
      const own = { type: 'message', model: plan.model, input_tokens: kept, output_tokens: writer.writtenTokens };
      writer.addMessageEnd({ input_tokens: kept, iterations: [beside, own] });
      return finish();
    }
    case 'fallback': {
      body.fallbacks = [{ model: OTHER_MODEL }];
      const other = writer.findModel(OTHER_MODEL).prices;
      writer.addMessageStart(base);
      writer.writeHidden(length * 2);
      const declined = writer.writtenTokens;
      const hop = { from: { model: plan.model }, to: { model: OTHER_MODEL }, trigger: { type: 'refusal' } };
      writer.addBlock({ type: 'fallback', ...hop });
      writer.billTokens(promptTokens, other.input);
      const before = writer.writtenTokens;
      writer.answeringModel = OTHER_MODEL;
      writer.text(length);
      const attempts = [
        { type: 'message', model: plan.model, input_tokens: promptTokens, output_tokens: declined },
        {
          type: 'fallback_message',
          model: OTHER_MODEL,
          input_tokens: promptTokens,
          output_tokens: writer.writtenTokens - before,
        },
      ];
      writer.addMessageEnd({
        input_tokens: promptTokens,
        output_tokens: writer.writtenTokens - before,
        iterations: attempts,
      });
      return finish();
    }
    case 'cache': {
      const read = Math.floor(promptTokens / 3);
      const written = Math.floor(promptTokens / 2);
      const rest = promptTokens - read - written;
      const hour = rounds % 2 === 0;
      body.cache_control = { type: 'ephemeral', ttl: hour ? '1h' : '5m' };
      writer.now = 0;
      writer.billTokens(rest, prices.input);
      writer.billTokens(read, prices.cache_read);
      writer.billTokens(written, hour ? prices.cache_write_1h : prices.cache_write_5m);
      writer.now = plan.ttftMs;
      const split = hour
        ? { ephemeral_5m_input_tokens: 0, ephemeral_1h_input_tokens: written }
        : { ephemeral_5m_input_tokens: written, ephemeral_1h_input_tokens: 0 };
      writer.addMessageStart({
        input_tokens: rest,
        cache_read_input_tokens: read,
        cache_creation_input_tokens: written,
        cache_creation: split,
      });
      writer.text(length);
      writer.addMessageEnd({ input_tokens: rest, cache_read_input_tokens: read, cache_creation_input_tokens: written });
      return finish();
    }
    default: {
      writer.addMessageStart(base);
      writer.text(length, kind === 'quick' ? pace + 2 : pace);
      writer.addMessageEnd({});
      return finish();
    }
  }
}
