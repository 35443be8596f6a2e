/** Lists the calls of `npm run prove`. It chooses models from the table by their features, so new models are included. */
import { getModelLifecycle, MODEL_LINES, MODELS, type Model, ModelTable } from '../src/edge/claude/models/models.ts';
import { computeMaximumCost } from '../src/edge/claude/pricing/maximum-cost.ts';
import { isThinkingOff } from '../src/edge/claude/pricing/minimal-thinking.ts';
import type { JsonObject } from '../src/edge/kit/json/object.ts';

type ProveRequest = { body?: JsonObject & { model: string }; upload?: string; method?: 'DELETE' };
/**
 * One call. In `path` and `body`, `$file` is the id of the uploaded file, and `$run` a different word in each run. The caller
 * `stops` once some text has arrived; `after` names the call whose prompt this one counts, or whose cache entry it reads.
 */
export type ProveCall = ProveRequest & { name: string; path: string; stops?: boolean; after?: string };

/** The table of this checkout, without the settings of any deployment. */
export const TABLE = new ModelTable();
/** Longer than any prefix that the cheapest model does not cache, and new in each run. */
const PREFIX = `Run $run. ${'A caching test needs a long text that stays the same from one call to the next. '.repeat(60)}`;
const CACHED = { system: [{ type: 'text', text: PREFIX, cache_control: { type: 'ephemeral' } }], max_tokens: 256 };
const input_schema = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const TOOL = { name: 'get_weather', description: 'Returns the current weather in a city.', input_schema };
const TOOLS = { tools: [TOOL], max_tokens: 512 };
const SEARCH = { type: 'web_search_20250305', name: 'web_search', max_uses: 1 };
const FORCED = { ...TOOLS, tool_choice: { type: 'tool', name: 'get_weather' } };
const USED = { type: 'tool_use', id: 'toolu_prove', name: 'get_weather', input: { city: 'Bern' } };
const RESULT = { type: 'tool_result', tool_use_id: 'toolu_prove', content: 'Sunny, 12 °C' };
const FILE = { type: 'document', source: { type: 'file', file_id: '$file' } };
const SEA = 'Write 500 words about the sea.';
const SUM = 'What is two plus two?';
const WEATHER = 'Use get_weather to tell me the weather in Bern.';
const OFF = { thinking: { type: 'disabled' } };
const LOW = { output_config: { effort: 'low' } };

/** @returns the model with the cheapest output of those that fit */
function cheapest(fits: (row: Model) => boolean): string {
  const rows = MODELS.filter((row) => getModelLifecycle(row) === 'active' && fits(row));
  const [first] = rows.sort((left, right) => left.prices.output - right.prices.output);
  if (first === undefined)
    throw new Error('No active model in the model table fits this call. Update scripts/prove-calls.ts.');
  return first.id;
}

const turn = (role: string, content: unknown) => ({ role, content });

/** @param asked a question, or whole messages */
function askCall(
  name: string,
  fits: string | ((row: Model) => boolean),
  asked: string | JsonObject[],
  more: JsonObject = {},
): ProveCall {
  const messages = typeof asked === 'string' ? [turn('user', asked)] : asked;
  const model = typeof fits === 'string' ? fits : cheapest(fits);
  return { name, path: '/v1/messages', body: { model, max_tokens: 1_024, messages, ...more } };
}

/** @returns the calls, in the order in which they are sent: at most 25 */
export function proveCalls(): ProveCall[] {
  const newest = MODEL_LINES.map((line) => ({ line, id: MODELS.find((row) => row.line === line)?.id ?? '' }));
  const disables = cheapest((row) => row.thinking?.types.includes('disabled') === true);
  // The tokens that files and the API's own tools add to the prompt are bounded only by the context window, so use a model with
  // a short one.
  const shortest = cheapest((row) => row.max_input_tokens <= 200_000);
  const prefilled = [turn('user', 'Where is Bern?'), turn('assistant', 'Bern is')];
  const answered = [turn('user', WEATHER), turn('assistant', [USED]), turn('user', [RESULT])];
  const withFile = [turn('user', [FILE, { type: 'text', text: 'What is the password?' }])];
  const counted = askCall('count', newest.at(-1)?.id ?? '', SUM, { max_tokens: undefined });
  return [
    ...newest.map(({ line, id }) => askCall(`answer-${line}`, id, SUM)),
    { ...counted, path: '/v1/messages/count_tokens', after: `answer-${newest.at(-1)?.line}` },
    askCall('max-tokens', (row) => row.thinking?.default === 'off' && row.efforts.length > 0, SEA, { max_tokens: 8 }),
    askCall('stream', disables, 'Name three rivers.', { ...OFF, stream: true }),
    askCall('tool', disables, WEATHER, { ...OFF, ...TOOLS }),
    askCall('tool-result', disables, answered, { ...OFF, ...TOOLS }),
    askCall('forced-tool', (row) => row.forced_tools, WEATHER, FORCED),
    askCall('forced-tool-refused', (row) => !row.forced_tools, WEATHER, FORCED),
    askCall('search', shortest, 'Search the web for the height of the Matterhorn.', { tools: [SEARCH] }),
    askCall('cache-write', disables, SUM, { ...OFF, ...CACHED }),
    { ...askCall('cache-read', disables, SUM, { ...OFF, ...CACHED }), after: 'cache-write' },
    { name: 'file-upload', path: '/v1/files', upload: 'The password of the garden gate is “marigold”.\n' },
    askCall('file', shortest, withFile, { max_tokens: 256 }),
    { name: 'file-delete', path: '/v1/files/$file', method: 'DELETE' },
    { ...askCall('stopped', disables, SEA, { ...OFF, stream: true }), stops: true },
    askCall('effort', (row) => row.efforts.includes('low'), SUM, LOW),
    askCall('effort-refused', (row) => row.efforts.length === 0, SUM, LOW),
    askCall('thinking-off-refused', (row) => row.thinking?.types.some(isThinkingOff) === false, SUM, OFF),
    askCall('prefill', (row) => !row.refuses.includes('prefill'), prefilled, { max_tokens: 512 }),
    askCall('prefill-refused', (row) => row.refuses.includes('prefill'), prefilled),
  ];
}

/** @returns the most that a call can cost, in nanodollars */
export function maximumCostOf({ path, body }: ProveCall, batch = false): number {
  if (path !== '/v1/messages' || body === undefined) return 0;
  // The file is short and known. Replace it by a text, and add 1,000 bytes, which are more than its content has. Otherwise the
  // whole context window would count.
  const text = JSON.stringify(body).replace(/\{"type":"document"[^}]*\}\}/g, '{"type":"text","text":"The file."}');
  const options = { bytes: new TextEncoder().encode(text).length + 1_000, models: TABLE, batch };
  const { maximumCost: worstCase } = computeMaximumCost(JSON.parse(text) as JsonObject, options);
  return worstCase.inputCost + worstCase.outputTokens * worstCase.outputPrice;
}
