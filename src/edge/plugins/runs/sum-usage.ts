import { isObject, type JsonObject } from '../../kit/json/object.ts';

/**
 * Sums up the usage of the steps of a run.
 *
 * @param usages the usage of each step, as the API has reported it
 * @returns one usage. If there are several steps, `iterations` has an entry for each. Members that are not numbers are taken
 *   from the last step
 */
export function sumUsageOfSteps(usages: readonly JsonObject[]): JsonObject {
  const [only] = usages;
  if (usages.length <= 1) return only ?? {};
  const iterations = usages.flatMap((usage) => {
    const { iterations: own, ...rest } = usage;
    return Array.isArray(own) && own.length > 0 ? own : [{ type: 'message', ...pickUsageCounts(rest) }];
  });
  return { ...usages.map(({ iterations: _, ...usage }) => usage).reduce(addUsageCounts), iterations };
}

/** The counts in an entry of `iterations`, the same as in the API's own. */
const TOKENS = [
  'input_tokens',
  'output_tokens',
  'cache_read_input_tokens',
  'cache_creation_input_tokens',
  'cache_creation',
];

function pickUsageCounts(usage: JsonObject): JsonObject {
  return Object.fromEntries(TOKENS.filter((name) => usage[name] !== undefined).map((name) => [name, usage[name]]));
}

function addUsageCounts(one: JsonObject, other: JsonObject): JsonObject {
  const sum = { ...one };
  for (const [name, value] of Object.entries(other)) {
    const before = sum[name];
    if (typeof value === 'number' && typeof before === 'number') sum[name] = before + value;
    else if (isObject(value) && isObject(before)) sum[name] = addUsageCounts(before, value);
    else if (value !== null && value !== undefined) sum[name] = value;
  }
  return sum;
}
