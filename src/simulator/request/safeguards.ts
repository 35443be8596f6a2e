import { type Json, type JsonObject, readOwnMember } from '../../api-rules/json.ts';
import { createInvalidRequestError } from './errors.ts';
import { readRequiredList, readRequiredObject, readRequiredString } from './fields.ts';

/** The safeguard that judges tool calls, each by itself. */
const TOOL_CALL_SAFEGUARD = 'dangerous_tool_use';

/**
 * Reads the safeguards that a request asks for.
 * @throws ApiError 400 in the API's words.
 */
export function parseSafeguardTypes(value: Json | undefined): string[] {
  if (value === undefined || value === null) return [];
  const types = readRequiredList(value, 'safeguards').map((entry, index) => {
    const path = `safeguards.${index}`;
    return readRequiredString(readOwnMember(readRequiredObject(entry, path), 'type'), `${path}.type`);
  });
  if (new Set(types).size < types.length) throw createInvalidRequestError('safeguards: each type may be given once');
  return types;
}

/**
 * Makes the results of the safeguards that were asked for. The simulator made the calls itself, from the user's own words, so
 * it flags none. Its explanation states that nothing was checked.
 * @param types the safeguards that the request asks for
 * @param calls the ids of the answer's tool calls
 */
export function createSafeguardResults(types: readonly string[], calls: readonly string[]): JsonObject[] {
  const verdict = {
    type: 'evaluated',
    outcome: 'not_flagged',
    explanation: 'No model has judged this call: it is one of Sluice’s built-in simulator.',
  };
  return types.map((type) => ({
    type,
    status:
      type === TOOL_CALL_SAFEGUARD
        ? { type: 'available', tool_uses: Object.fromEntries(calls.map((id) => [id, verdict])) }
        : { type: 'unsupported' },
  }));
}
