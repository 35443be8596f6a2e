/**
 * Finds the models that a request names beside its own, in any member of the body. Limits and holds include them, so that a
 * member that this edge does not know yet cannot be used to get around a limit.
 */

import { isObject, type JsonObject } from '../../kit/json/object.ts';
import { findValuesByKey, hasRepeatedKeys } from '../../kit/json/repeated-keys.ts';

/** Members that name a model, at any depth. */
const MODEL_FIELDS = /^(?:fallback|(?:\w*_)?models?|model_id)$/;
/** Members with the caller's own words, where a model's name means nothing to the API. */
const TOOL_TEXT_FIELDS: ReadonlySet<string> = new Set(['input_schema', 'input_examples', 'description']);
const BODY_TEXT_FIELDS: ReadonlySet<string> = new Set([
  // Skip the request's own model, which is priced anyway, and the fields that other functions search for models.
  'model',
  'messages',
  'tools',
  'system',
  'metadata',
  'output_format',
  'stop_sequences',
]);
const OUTPUT_TEXT_FIELDS: ReadonlySet<string> = new Set(['format']);

/** @returns an entry of `fallbacks` as an object. A string is a model's name; anything else has no known members. */
export function toFallbackObject(entry: unknown): JsonObject {
  if (isObject(entry)) return entry;
  return typeof entry === 'string' ? { model: entry } : {};
}

/** @returns the further models that a body names outside its tools, each as a tool that names it. */
export function findModelsOutsideTools(body: JsonObject): JsonObject[] {
  const found: unknown[] = [];
  for (const [name, value] of Object.entries(body)) {
    if (BODY_TEXT_FIELDS.has(name)) continue;
    if (name === 'fallbacks') {
      // Skip the model of each entry: it is priced as a separate attempt elsewhere.
      if (Array.isArray(value)) for (const entry of value) collectNamedModels(entry, OWN_MODEL, found);
      else collectNamedModels(value, NONE, found);
    } else if (name === 'output_config') collectNamedModels(value, OUTPUT_TEXT_FIELDS, found);
    else collectNamedModels(value, NONE, found);
  }
  return found.map((model) => ({ model }));
}

/** @returns a copy of the tool for each further model that it may use. An advisor uses one even if it names none. */
export function expandModelUses(tool: JsonObject, type: string): JsonObject[] {
  const found: unknown[] = [];
  const isAdvisor = type.startsWith('advisor');
  collectNamedModels(tool, type === 'custom' ? TOOL_TEXT_FIELDS : isAdvisor ? OWN_MODEL : NONE, found);
  const further = found.map((model) => ({ ...tool, model }));
  return isAdvisor ? [tool, ...further] : further;
}

/**
 * Finds the models of a body that repeats keys: the API may read another value than we do.
 *
 * @param text the body as it is sent
 * @returns every model that could be read from it, and an unknown one; an empty list if no key is repeated
 */
export function findModelsInRepeatedKeys(text: string, body: JsonObject): JsonObject[] {
  if (!hasRepeatedKeys(text, body)) return [];
  const models = [...new Set(findValuesByKey(text, MODEL_FIELDS)), undefined];
  return models.slice(-MAX_REFERENCED_MODELS).map((model) => ({ model }));
}

const NONE: ReadonlySet<string> = new Set();
const OWN_MODEL: ReadonlySet<string> = new Set(['model']);

/**
 * Finds the models that a value names, at any depth. It does not recurse, because a hostile body may nest very deep.
 *
 * @param free members of the value itself that are skipped
 */
function collectNamedModels(value: unknown, free: ReadonlySet<string>, models: unknown[]): void {
  const stack: [unknown, ReadonlySet<string>][] = [[value, free]];
  for (let next = stack.pop(); next; next = stack.pop()) {
    const [node, skipped] = next;
    if (Array.isArray(node)) for (const item of node) stack.push([item, NONE]);
    else if (isObject(node)) {
      for (const [name, member] of Object.entries(node)) {
        if (skipped.has(name)) continue;
        if (MODEL_FIELDS.test(name))
          for (const one of Array.isArray(member) ? member : [member]) addModelName(one, models);
        if (typeof member === 'object' && member !== null) stack.push([member, NONE]);
      }
    }
  }
}

/** The most further models that are added up. More than these cost more than any limit allows. */
const MAX_REFERENCED_MODELS = 1_000;

function addModelName(model: unknown, models: unknown[]): void {
  if (models.length < MAX_REFERENCED_MODELS) models.push(typeof model === 'string' ? model : undefined);
}
