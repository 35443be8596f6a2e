import { type CountOptions, countTokens } from '../../claude/count-tokens.ts';
import { changedTexts } from '../../claude/pricing/takes.ts';
import { bodyUp } from '../../claude/request/body-up.ts';
import type { JsonBody } from '../../kit/http/body/json-body.ts';
import { ApiError } from '../../kit/http/errors.ts';
import type { Json } from '../../kit/json/object.ts';

interface CountableRequest extends CountOptions {
  /** The body as it will go up. */
  body: JsonBody;
  /** The upstream's id of the model. */
  model: string;
}

/** The fields of a Messages request that count_tokens accepts; it refuses all others. */
const COUNTED_FIELDS: ReadonlySet<string> = new Set([
  'messages',
  'model',
  'system',
  'tools',
  'tool_choice',
  'thinking',
  'output_config',
  'output_format',
  'cache_control',
  'context_management',
  'mcp_servers',
  'speed',
]);

/**
 * Asks the upstream to count the input.
 *
 * @param changed the members that go up in another form than in the body
 * @returns the number of tokens; null if the upstream does not count it
 * @throws ApiError 429 if the upstream limits the deployment, and when the caller has left
 */
export async function countInput(request: CountableRequest, changed: Json): Promise<number | null> {
  const { body, model } = request;
  const rest = Object.keys(body.json).filter((key) => !COUNTED_FIELDS.has(key));
  const changes = changedTexts({ ...changed, ...Object.fromEntries(rest.map((key) => [key, undefined])) });
  if (body.json.model !== model) changes.model = JSON.stringify(model);
  try {
    return await countTokens((more) => bodyUp(body, { ...changes, ...more }), { ...request, admits: true });
  } catch (thrown) {
    if (!(thrown instanceof ApiError) || thrown.status === 429 || request.signal?.aborted) throw thrown;
    return null;
  }
}
