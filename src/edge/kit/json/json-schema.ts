/**
 * Checks values by the part of JSON Schema that describes extracted fields: what the API's structured output supports, and
 * the bounds that the API does not check. `format` and `pattern` go to the model, but are not checked here.
 */
import { isObject, type Json } from './object.ts';

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
const OTHER_KEYWORDS = [
  ...['type', 'enum', 'const', 'properties', 'required', 'additionalProperties', 'items'],
  ...['default', 'examples', '$schema', '$comment'],
];
const KEYWORDS: ReadonlySet<string> = new Set([...OTHER_KEYWORDS, ...SCHEMA_LISTS, ...BOUNDS, ...TEXTS]);
const DEEPEST_SCHEMA = 16;
/** For `multipleOf`: 0.3 counts as a multiple of 0.1, although it is not quite one in binary numbers. */
const TOLERANCE = 1e-9;

/** @returns why a value is not a schema that is understood here, with the path of the fault; undefined if it is one */
export function faultInSchema(schema: unknown, path = '', depth = 0): string | undefined {
  const at = (rest: string) => (path === '' ? rest : `${path}.${rest}`);
  const here = path === '' ? 'the schema' : path;
  if (depth > DEEPEST_SCHEMA) return `${here} is nested too deep: ${DEEPEST_SCHEMA} levels at the most`;
  if (!isObject(schema)) return `${here} should be an object`;
  const unknown = Object.keys(schema).find((key) => !KEYWORDS.has(key));
  if (unknown !== undefined) return `${at(unknown)} is not supported. Write the schema without it`;
  const { type, enum: choices, properties, required, items, additionalProperties } = schema;
  const types = Array.isArray(type) ? type : [type];
  if (type !== undefined && (types.length === 0 || !types.every((name) => SCHEMA_TYPES.includes(name)))) {
    return `${at('type')} should be one of ${SCHEMA_TYPES.join(', ')}`;
  }
  if (choices !== undefined && !(Array.isArray(choices) && choices.length > 0 && choices.every(isPrimitive))) {
    return `${at('enum')} should be a list of strings, numbers, booleans or null that is not empty`;
  }
  const described = type ?? choices ?? schema.const ?? SCHEMA_LISTS.find((name) => schema[name] !== undefined);
  if (described === undefined && !Object.hasOwn(schema, 'const')) {
    return `${here} should have a type, an enum, a const, anyOf, oneOf or allOf`;
  }
  if (!isPrimitive(schema.const ?? null)) return `${at('const')} should be a string, number, boolean or null`;
  if (typeof (additionalProperties ?? false) !== 'boolean') return `${at('additionalProperties')} should be a boolean`;
  if (required !== undefined && !(Array.isArray(required) && required.every((name) => typeof name === 'string'))) {
    return `${at('required')} should be a list of names`;
  }
  const bound = BOUNDS.find((name) => schema[name] !== undefined && !Number.isFinite(schema[name]));
  if (bound) return `${at(bound)} should be a number`;
  if (schema.multipleOf !== undefined && !(Number(schema.multipleOf) > 0))
    return `${at('multipleOf')} should be above 0`;
  const text = TEXTS.find((name) => schema[name] !== undefined && typeof schema[name] !== 'string');
  if (text) return `${at(text)} should be a string`;
  if (properties !== undefined && !isObject(properties)) return `${at('properties')} should be an object of schemas`;
  const absent = (required as string[] | undefined)?.find((name) => !Object.hasOwn(properties ?? {}, name));
  if (absent !== undefined) return `${at('required')} names ${absent}, which is not in properties`;
  for (const [name, inner] of Object.entries(properties ?? {})) {
    const fault = faultInSchema(inner, at(`properties.${name}`), depth + 1);
    if (fault) return fault;
  }
  if (types.includes('array') && items === undefined) return `${at('items')} should say what the array holds`;
  if (items !== undefined) {
    const fault = faultInSchema(items, at('items'), depth + 1);
    if (fault) return fault;
  }
  for (const name of SCHEMA_LISTS) {
    const branches = schema[name];
    if (branches === undefined) continue;
    if (!Array.isArray(branches) || branches.length === 0) return `${at(name)} should be a list of schemas`;
    for (const [index, branch] of branches.entries()) {
      const fault = faultInSchema(branch, at(`${name}.${index}`), depth + 1);
      if (fault) return fault;
    }
  }
  return undefined;
}

/**
 * @param schema a schema without faults
 * @returns the path of the first value that does not satisfy the schema; undefined if all do
 */
export function faultInValue(value: unknown, schema: Json, path = 'fields'): string | undefined {
  const { type, enum: choices, anyOf, oneOf, allOf } = schema;
  const fits = (branch: unknown) => faultInValue(value, branch as Json, path) === undefined;
  if (type !== undefined && !(Array.isArray(type) ? type : [type]).some((name) => isType(value, name))) return path;
  if (Array.isArray(choices) && !choices.includes(value)) return path;
  if (Object.hasOwn(schema, 'const') && schema.const !== value) return path;
  if (Array.isArray(allOf) && !allOf.every(fits)) return path;
  if (Array.isArray(anyOf) && !anyOf.some(fits)) return path;
  if (Array.isArray(oneOf) && oneOf.filter(fits).length !== 1) return path;
  if (typeof value === 'string') return isWithin([...value].length, schema, 'Length') ? undefined : path;
  if (typeof value === 'number') return isNumberWithin(value, schema) ? undefined : path;
  if (Array.isArray(value)) {
    if (!isWithin(value.length, schema, 'Items')) return path;
    const { items } = schema;
    if (!isObject(items)) return undefined;
    for (const [index, item] of value.entries()) {
      const fault = faultInValue(item, items, `${path}.${index}`);
      if (fault) return fault;
    }
    return undefined;
  }
  if (!isObject(value)) return undefined;
  const properties = isObject(schema.properties) ? schema.properties : {};
  for (const name of (schema.required as string[] | undefined) ?? []) {
    if (!Object.hasOwn(value, name)) return `${path}.${name}`;
  }
  for (const [name, inner] of Object.entries(value)) {
    const property = Object.hasOwn(properties, name) ? properties[name] : undefined;
    if (property === undefined) {
      // A member that is not in `properties` is a fault. The API is also told that there must be none.
      if (type !== undefined) return `${path}.${name}`;
      continue;
    }
    const fault = faultInValue(inner, property as Json, `${path}.${name}`);
    if (fault) return fault;
  }
  return undefined;
}

/** @returns whether a value is of a type of JSON Schema */
export function isType(value: unknown, type: unknown): boolean {
  if (type === 'null') return value === null;
  if (type === 'array') return Array.isArray(value);
  if (type === 'object') return isObject(value);
  if (type === 'integer') return Number.isInteger(value);
  return typeof value === type;
}

function isWithin(size: number, schema: Json, what: 'Length' | 'Items'): boolean {
  return !(size < Number(schema[`min${what}`] ?? 0) || size > Number(schema[`max${what}`] ?? Infinity));
}

function isNumberWithin(value: number, schema: Json): boolean {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf } = schema;
  if (minimum !== undefined && value < Number(minimum)) return false;
  if (maximum !== undefined && value > Number(maximum)) return false;
  if (exclusiveMinimum !== undefined && value <= Number(exclusiveMinimum)) return false;
  if (exclusiveMaximum !== undefined && value >= Number(exclusiveMaximum)) return false;
  if (multipleOf === undefined) return true;
  const times = value / Number(multipleOf);
  return Math.abs(times - Math.round(times)) <= TOLERANCE * Math.max(1, Math.abs(times));
}

function isPrimitive(value: unknown): boolean {
  return value === null || (typeof value !== 'object' && typeof value !== 'undefined');
}
