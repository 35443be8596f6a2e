/**
 * Models that a request names beside its own: by whatever member of the body the API may come to use one, it is limited
 * and held for, so that what this edge does not know yet does not go round a limit.
 */

import { isObject, type Json } from '../json/object.ts';
import { repeatsKeys, valuesNamed } from '../json/repeated-keys.ts';

/** Members that name a model, wherever they stand. */
const NAMING = /^(?:fallback|(?:\w*_)?models?|model_id)$/;
/** Members that callers write for themselves: a model's name in there is a word like any other. */
const FREE_OF_TOOLS: ReadonlySet<string> = new Set(['input_schema', 'input_examples', 'description']);
const FREE_OF_BODIES: ReadonlySet<string> = new Set([
  // The request's own model, and what is read elsewhere.
  'model',
  'messages',
  'tools',
  'system',
  'metadata',
  'output_format',
  'stop_sequences',
]);
const FREE_OF_OUTPUT: ReadonlySet<string> = new Set(['format']);

/** @returns an entry of `fallbacks` as an object: a name is one that says nothing else, and of others nothing is known. */
export function fallbackOf(entry: unknown): Json {
  if (isObject(entry)) return entry;
  return typeof entry === 'string' ? { model: entry } : {};
}

/** @returns what of a body asks for further models, beside its tools: as a tool that asks for one. */
export function furtherModels(body: Json): Json[] {
  const found: unknown[] = [];
  for (const [name, value] of Object.entries(body)) {
    if (FREE_OF_BODIES.has(name)) continue;
    if (name === 'fallbacks') {
      // The model of each entry is a try of its own.
      if (Array.isArray(value)) for (const entry of value) collect(entry, OWN_MODEL, found);
      else collect(value, NONE, found);
    } else if (name === 'output_config') collect(value, FREE_OF_OUTPUT, found);
    else collect(value, NONE, found);
  }
  return found.map((model) => ({ model }));
}

/** @returns a tool once for each further model that it may use; an advisor uses one whether it names it or not. */
export function usesOfModels(tool: Json, type: string): Json[] {
  const found: unknown[] = [];
  const isAdvisor = type.startsWith('advisor');
  collect(tool, type === 'custom' ? FREE_OF_TOOLS : isAdvisor ? OWN_MODEL : NONE, found);
  const further = found.map((model) => ({ ...tool, model }));
  return isAdvisor ? [tool, ...further] : further;
}

/**
 * @param text the body as it goes up
 * @returns every model that another reader than ours could find in it, and one that nobody knows; none where there is
 * one reading only
 */
export function modelsOfOtherReadings(text: string, body: Json): Json[] {
  if (!repeatsKeys(text, body)) return [];
  const models = [...new Set(valuesNamed(text, NAMING)), undefined];
  return models.slice(-MOST_FURTHER).map((model) => ({ model }));
}

const NONE: ReadonlySet<string> = new Set();
const OWN_MODEL: ReadonlySet<string> = new Set(['model']);

/**
 * Finds what names a model in a value, however deep. With a stack of its own: a body may nest as deep as it is long.
 *
 * @param free members of the value itself that are not looked into
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

/** A request with more further models than these costs more than any limit allows. */
const MOST_FURTHER = 1_000;

function note(model: unknown, found: unknown[]): void {
  if (found.length < MOST_FURTHER) found.push(typeof model === 'string' ? model : undefined);
}
