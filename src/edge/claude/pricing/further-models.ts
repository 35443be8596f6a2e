/**
 * Finds the models that a request names beside its own, in any member of the body. Limits and holds include them, so that a
 * member that this edge does not know yet cannot be used to get around a limit.
 */

import { isObject, type Json } from '../../kit/json/object.ts';
import { repeatsKeys, valuesNamed } from '../../kit/json/repeated-keys.ts';

/** Members that name a model, at any depth. */
const NAMING = /^(?:fallback|(?:\w*_)?models?|model_id)$/;
/** Members with the caller's own words, where a model's name means nothing to the API. */
const FREE_OF_TOOLS: ReadonlySet<string> = new Set(['input_schema', 'input_examples', 'description']);
const FREE_OF_BODIES: ReadonlySet<string> = new Set([
  // The request's own model, and members that are read elsewhere.
  'model',
  'messages',
  'tools',
  'system',
  'metadata',
  'output_format',
  'stop_sequences',
]);
const FREE_OF_OUTPUT: ReadonlySet<string> = new Set(['format']);

/** @returns an entry of `fallbacks` as an object. A string is a model's name; anything else has no known members. */
export function fallbackOf(entry: unknown): Json {
  if (isObject(entry)) return entry;
  return typeof entry === 'string' ? { model: entry } : {};
}

/** @returns the further models that a body names outside its tools, each as a tool that names it. */
export function furtherModels(body: Json): Json[] {
  const found: unknown[] = [];
  for (const [name, value] of Object.entries(body)) {
    if (FREE_OF_BODIES.has(name)) continue;
    if (name === 'fallbacks') {
      // The model of each entry is read elsewhere, as an attempt of its own.
      if (Array.isArray(value)) for (const entry of value) collect(entry, OWN_MODEL, found);
      else collect(value, NONE, found);
    } else if (name === 'output_config') collect(value, FREE_OF_OUTPUT, found);
    else collect(value, NONE, found);
  }
  return found.map((model) => ({ model }));
}

/** @returns a copy of the tool for each further model that it may use. An advisor uses one even if it names none. */
export function usesOfModels(tool: Json, type: string): Json[] {
  const found: unknown[] = [];
  const isAdvisor = type.startsWith('advisor');
  collect(tool, type === 'custom' ? FREE_OF_TOOLS : isAdvisor ? OWN_MODEL : NONE, found);
  const further = found.map((model) => ({ ...tool, model }));
  return isAdvisor ? [tool, ...further] : further;
}

/**
 * Finds the models of a body that repeats keys: the API may read another value than we do.
 *
 * @param text the body as it goes up
 * @returns every model that could be read from it, and an unknown one; an empty list if no key is repeated
 */
export function modelsOfOtherReadings(text: string, body: Json): Json[] {
  if (!repeatsKeys(text, body)) return [];
  const models = [...new Set(valuesNamed(text, NAMING)), undefined];
  return models.slice(-MOST_FURTHER).map((model) => ({ model }));
}

const NONE: ReadonlySet<string> = new Set();
const OWN_MODEL: ReadonlySet<string> = new Set(['model']);

/**
 * Finds the models that a value names, at any depth. It does not recurse, because a hostile body may nest very deep.
 *
 * @param free members of the value itself that are skipped
 */
function collect(value: unknown, free: ReadonlySet<string>, found: unknown[]): void {
  const stack: [unknown, ReadonlySet<string>][] = [[value, free]];
  for (let next = stack.pop(); next; next = stack.pop()) {
    const [node, skipped] = next;
    if (Array.isArray(node)) for (const item of node) stack.push([item, NONE]);
    else if (isObject(node)) {
      for (const [name, member] of Object.entries(node)) {
        if (skipped.has(name)) continue;
        if (NAMING.test(name)) for (const one of Array.isArray(member) ? member : [member]) note(one, found);
        if (typeof member === 'object' && member !== null) stack.push([member, NONE]);
      }
    }
  }
}

/** The most further models that are added up. More than these cost more than any limit allows. */
const MOST_FURTHER = 1_000;

function note(model: unknown, found: unknown[]): void {
  if (found.length < MOST_FURTHER) found.push(typeof model === 'string' ? model : undefined);
}
