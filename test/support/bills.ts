/** What the API bills for an answer, reckoned apart from the edge: by its price list, from what the answer itself says. */
import { parseEvents } from './restarting-edge.ts';

/** Dollars for a million tokens: of input, output, written to the cache for five minutes, read from it. */
const PRICES: Readonly<Record<string, readonly [number, number, number, number]>> = {
  'claude-haiku-4-5': [1, 5, 1.25, 0.1],
  'claude-haiku-4-5-20251001': [1, 5, 1.25, 0.1],
  'claude-haiku-5-5': [0.1, 0.5, 0.125, 0.01],
  'claude-opus-5-5': [4, 20, 5, 0.2],
  'claude-sonnet-5-5': [2, 10, 2.5, 0.1],
  'claude-sonnet-4-6': [3, 15, 3.75, 0.3],
};

interface BilledTokens {
  input_tokens: number;
  output_tokens: number;
  cache_read_input_tokens?: number | null;
  cache_creation_input_tokens?: number | null;
}

interface BilledMessage {
  model: string;
  usage: BilledTokens & { iterations?: ({ type: string } & BilledTokens)[] | null };
}

/** @returns what a message costs, in dollars. A summary is in its iterations alone, and not in the totals */
export function computePrice({ model, usage }: BilledMessage): number {
  const [input, output, written, read] = PRICES[model] ?? [Number.NaN, Number.NaN, Number.NaN, Number.NaN];
  const summaries = usage.iterations?.filter(({ type }) => type === 'compaction') ?? [];
  return [usage, ...summaries].reduce(
    (sum, { input_tokens, output_tokens, cache_read_input_tokens, cache_creation_input_tokens }) =>
      sum +
      (input_tokens * input +
        output_tokens * output +
        (cache_read_input_tokens ?? 0) * read +
        (cache_creation_input_tokens ?? 0) * written) /
        1e6,
    0,
  );
}

/** @param text the whole answer, a stream or not @returns what it costs, in dollars; undefined where it does not say so */
export function readBill(text: string): number | undefined {
  if (!text.startsWith('event:')) return computePrice(JSON.parse(text) as BilledMessage);
  const datas = parseEvents(text).map(({ frame }) => JSON.parse(/^data: (.*)$/m.exec(frame)?.[1] ?? '{}'));
  const { message } = datas.find(({ type }) => type === 'message_start') ?? {};
  const { usage } = datas.findLast(({ type }) => type === 'message_delta') ?? {};
  return message && usage ? computePrice({ model: message.model, usage: { ...message.usage, ...usage } }) : undefined;
}
