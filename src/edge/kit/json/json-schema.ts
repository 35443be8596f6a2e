/**
 * Checks JSON Schemas, and values against them. `pattern` and `format` are sent to the model and are not checked here: a
 * caller's regular expression may be malformed, or take too long.
 */

import { type Schema, Validator } from '@cfworker/json-schema';
import { isObject, type JsonObject } from './object.ts';
import { MAX_SCHEMA_DEPTH, SCHEMA_KEYWORDS, SCHEMA_LIST_KEYWORDS, SCHEMA_MAP_KEYWORDS } from './schema-references.ts';
import { weighJson } from './weigh-json.ts';

const SCHEMA_TYPES = ['string', 'number', 'integer', 'boolean', 'null', 'array', 'object'];
const SCHEMA_LISTS = ['anyOf', 'oneOf', 'allOf'] as const;
const BOUNDS = [
  'minItems',
  'maxItems',
  'minLength',
  'maxLength',
  'minimum',
  'maximum',
  'exclusiveMinimum',
  'exclusiveMaximum',
  'multipleOf',
] as const;
const TEXTS = ['title', 'description', 'format', 'pattern'] as const;
/** Bounds that structured output does not know. */
const OTHER_BOUNDS = ['minProperties', 'maxProperties', 'minContains', 'maxContains'] as const;
/** The longest description of a fault in a value: an enum may have hundreds of choices. */
const MAX_FAULT_CHARACTERS = 300;

/**
 * Finds what Claude could not follow in a schema for structured output. Unknown keywords pass: the model reads them.
 *
 * @param schema a schema whose references are resolved
 * @returns the first fault with its path; undefined for a schema without faults
 */
export function findJsonSchemaFault(schema: unknown, path = '', depth = 0): string | undefined {
  const joinPath = (rest: string) => (path === '' ? rest : `${path}.${rest}`);
  const here = path === '' ? 'the schema' : path;
  if (depth > MAX_SCHEMA_DEPTH) return `${here} is nested more than ${MAX_SCHEMA_DEPTH} levels deep. Simplify it`;
  if (!isObject(schema)) return `${here} should be an object`;
  const { type, enum: choices, properties, required, items, additionalProperties } = schema;
  const types = Array.isArray(type) ? type : [type];
  if (type !== undefined && (types.length === 0 || !types.every((name) => SCHEMA_TYPES.includes(name)))) {
    return `${joinPath('type')} should be one of ${SCHEMA_TYPES.join(', ')}`;
  }
  if (choices !== undefined && !(Array.isArray(choices) && choices.length > 0 && choices.every(isPrimitiveValue))) {
    return `${joinPath('enum')} should be a list of strings, numbers, booleans or null that is not empty`;
  }
  const described = type ?? choices ?? schema.const ?? SCHEMA_LISTS.find((name) => schema[name] !== undefined);
  if (described === undefined && !Object.hasOwn(schema, 'const')) {
    return `${here} should have a type, an enum, a const, anyOf, oneOf or allOf`;
  }
  if (!isPrimitiveValue(schema.const ?? null))
    return `${joinPath('const')} should be a string, number, boolean or null`;
  if (typeof (additionalProperties ?? false) !== 'boolean' && !isObject(additionalProperties)) {
    return `${joinPath('additionalProperties')} should be a boolean or a schema`;
  }
  if (required !== undefined && !isListOfStrings(required)) {
    return `${joinPath('required')} should be a list of names`;
  }
  const bound = BOUNDS.find((name) => schema[name] !== undefined && !Number.isFinite(schema[name]));
  if (bound) return `${joinPath(bound)} should be a number`;
  if (schema.multipleOf !== undefined && !(Number(schema.multipleOf) > 0))
    return `${joinPath('multipleOf')} should be above 0`;
  const text = TEXTS.find((name) => schema[name] !== undefined && typeof schema[name] !== 'string');
  if (text) return `${joinPath(text)} should be a string`;
  if (properties !== undefined && !isObject(properties))
    return `${joinPath('properties')} should be an object of schemas`;
  const union = SCHEMA_LISTS.find((name) => schema[name] !== undefined);
  if (union && properties)
    return `${joinPath(union)} is not supported together with properties. Move the properties into each part`;
  const absent = required?.find((name) => !Object.hasOwn(properties ?? {}, name));
  if (absent !== undefined) return `${joinPath('required')} names ${absent}, which is not in properties`;
  for (const [name, inner] of Object.entries(properties ?? {})) {
    const fault = findJsonSchemaFault(inner, joinPath(`properties.${name}`), depth + 1);
    if (fault) return fault;
  }
  if (types.includes('array') && items === undefined)
    return `${joinPath('items')} should be the schema of the array’s items`;
  if (items !== undefined) {
    const fault = findJsonSchemaFault(items, joinPath('items'), depth + 1);
    if (fault) return fault;
  }
  for (const name of SCHEMA_LISTS) {
    const branches = schema[name];
    if (branches === undefined) continue;
    if (!Array.isArray(branches) || branches.length === 0) return `${joinPath(name)} should be a list of schemas`;
    for (const [index, branch] of branches.entries()) {
      const fault = findJsonSchemaFault(branch, joinPath(`${name}.${index}`), depth + 1);
      if (fault) return fault;
    }
  }
  return undefined;
}

/** A fault in a value: where it is, such as `fields.tags.1`, and what is wrong there, as a sentence. */
export interface SchemaValueFault {
  path: string;
  problem: string;
  /** Whether the value was not checked, because that would take too long. */
  isUnchecked?: true;
}

/**
 * The steps that checks may still take. Checking compares up to each part of a value with each part of its schema, and callers
 * choose both. A step takes about 30 ns.
 */
export class CheckBudget {
  #steps = 1_000_000;

  /** @returns whether the budget covers the check of a value */
  takeSteps(schemaWeight: number, value: unknown): boolean {
    if (this.#steps <= 0) return false;
    this.#steps -= schemaWeight * weighJson(value, Math.ceil(this.#steps / schemaWeight) + 1);
    return this.#steps >= 0;
  }
}

/**
 * Prepares a schema for checking values.
 *
 * @param schema the result of `resolveSchemaReferences`; malformed keywords are ignored
 * @param closed whether objects may only have the properties that their schema lists, as in structured output
 * @param budget for several checks; by default, each has its own
 * @returns a function that returns the first fault in a value, whose path begins with `root`; undefined if there is none
 */
export function createValueChecker(
  schema: JsonObject,
  { root, closed: isClosed = false, budget }: { root: string; closed?: boolean; budget?: CheckBudget },
): (value: unknown) => SchemaValueFault | undefined {
  const checked = pickCheckedKeywords(schema, isClosed) as Schema;
  const weight = weighJson(checked, Number.POSITIVE_INFINITY);
  const validator = new Validator(checked, '2020-12');
  return (value) => {
    if (value === undefined) return { path: root, problem: 'The value is missing.' };
    if (!(budget ?? new CheckBudget()).takeSteps(weight, value))
      return { path: root, problem: 'The value and its schema are too large to be checked.', isUnchecked: true };
    try {
      const { valid, errors } = validator.validate(value);
      if (valid) return undefined;
      // The validator lists the errors from the outermost value to the innermost. Report the last one, which is the most
      // specific.
      const { instanceLocation = '#', keyword, error = '' } = errors.at(-1) ?? {};
      const keys = decodeURIComponent(instanceLocation).split('/').slice(1);
      const path = [root, ...keys.map((key) => key.replaceAll('~1', '/').replaceAll('~0', '~'))].join('.');
      return {
        path,
        problem: keyword === 'false' ? 'The schema does not allow this value.' : error.slice(0, MAX_FAULT_CHARACTERS),
      };
    } catch (thrown) {
      // The validator encodes names with `encodeURIComponent`, which throws a `URIError` for a lone surrogate.
      if (thrown instanceof URIError) return { path: root, problem: 'A name in this value contains a lone surrogate.' };
      throw thrown;
    }
  };
}

/** @returns a copy of a schema with the keywords that are checked, and whose form is right */
function pickCheckedKeywords(schema: unknown, closed: boolean): JsonObject | boolean {
  if (!isObject(schema)) return schema !== false;
  const copy: JsonObject = {};
  const { type, enum: choices, required, dependentRequired, patternProperties } = schema;
  const types: unknown[] = Array.isArray(type) ? type : [type];
  if (types.length > 0 && types.every((name) => SCHEMA_TYPES.includes(String(name)))) copy.type = type;
  if (Array.isArray(choices)) copy.enum = choices;
  if (Object.hasOwn(schema, 'const')) copy.const = schema.const;
  if (isListOfStrings(required)) copy.required = required;
  if (isObject(dependentRequired) && Object.values(dependentRequired).every(isListOfStrings)) {
    copy.dependentRequired = dependentRequired;
  }
  for (const name of [...BOUNDS, ...OTHER_BOUNDS]) if (Number.isFinite(schema[name])) copy[name] = schema[name];
  for (const name of SCHEMA_KEYWORDS) {
    if (isObject(schema[name]) || typeof schema[name] === 'boolean')
      copy[name] = pickCheckedKeywords(schema[name], closed);
  }
  for (const name of SCHEMA_LIST_KEYWORDS) {
    const list = schema[name];
    if (!Array.isArray(list) || list.length === 0) continue;
    // Do not close the parts of an `allOf`: a closed part would reject the properties that the other parts allow.
    const isClosed = closed && !(name === 'allOf' && list.length > 1);
    copy[name] = list.map((inner) => pickCheckedKeywords(inner, isClosed));
  }
  for (const name of SCHEMA_MAP_KEYWORDS) {
    const map = schema[name];
    if (!isObject(map) || map === patternProperties) continue;
    copy[name] = Object.fromEntries(
      Object.entries(map).map(([key, inner]) => [key, pickCheckedKeywords(inner, closed)]),
    );
  }
  // Patterns are not checked, so a property that only a pattern allows would count as unknown. Allow additional properties
  // instead.
  if (patternProperties !== undefined) delete copy.additionalProperties;
  if (closed && types.includes('object')) copy.additionalProperties = false;
  return copy;
}

function isListOfStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((name) => typeof name === 'string');
}

/** @returns whether a value is of a type of JSON Schema */
export function isOfSchemaType(value: unknown, type: unknown): boolean {
  if (type === 'null') return value === null;
  if (type === 'array') return Array.isArray(value);
  if (type === 'object') return isObject(value);
  if (type === 'integer') return Number.isInteger(value);
  return typeof value === type;
}

function isPrimitiveValue(value: unknown): boolean {
  return value === null || (typeof value !== 'object' && typeof value !== 'undefined');
}
