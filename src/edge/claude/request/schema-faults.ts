/**
 * Finds what the API rejects in the schemas of a request: that of `output_config.format`, and those of its tools.
 *
 * Source: the words were seen by others, with Opus 5.5 on 2026-09-27, and in public reports of 2026 (optional parameters,
 * enums); what is taken is listed at platform.claude.com/docs/en/build-with-claude/structured-outputs. The API decides, and
 * Sluice only warns, so a keyword that is not listed here is accepted.
 */

import { isOfSchemaType } from '../../kit/json/json-schema.ts';
import { isObject, type JsonObject } from '../../kit/json/object.ts';
import { findReferencedSchema } from '../../kit/json/schema-references.ts';

const NUMBER_KEYWORDS = ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'];

/** The keywords that are rejected beside a type. */
const REJECTED_KEYWORDS_BY_TYPE: Readonly<Record<string, readonly string[]>> = {
  integer: NUMBER_KEYWORDS,
  number: NUMBER_KEYWORDS,
  string: ['minLength', 'maxLength'],
  array: ['maxItems', 'uniqueItems', 'contains', 'minContains', 'maxContains', 'prefixItems', 'unevaluatedItems'],
  object: [
    'minProperties',
    'maxProperties',
    'patternProperties',
    'propertyNames',
    'dependentRequired',
    'dependentSchemas',
    'unevaluatedProperties',
  ],
};

/** Keywords that are refused in any schema, as `oneOf` is. */
const REJECTED_KEYWORDS = ['not', 'if', 'then', 'else'];
const STRING_FORMATS = ['date-time', 'time', 'date', 'duration', 'email', 'hostname', 'uri', 'ipv4', 'ipv6', 'uuid'];
/** The API rejects them at the top of a tool's schema. */
export const UNION_KEYWORDS = ['anyOf', 'oneOf', 'allOf'] as const;
export const MAX_STRICT_TOOLS = 20;
/** How many members of all schemas of a request may be left out. */
export const MAX_OPTIONAL_PROPERTIES = 24;
/** The API's own measures are not published. */
const MAX_PROPERTIES = 1_000;
const MAX_GRAMMAR_DEPTH = 100;
const TOO_COMPLEX_MESSAGE = 'Schema is too complex for compilation.';

/** A part of a request that the API refuses. */
interface SchemaFault {
  /** The API's words, behind the path of the schema. */
  problem: string;
  /** Its path in the schema, such as `properties.age`; empty for the whole schema. */
  path: string;
  /** The index of the tool; undefined for a format, and for what is counted over all schemas. */
  tool?: number;
}

/** The parts of a request that have schemas. */
interface RequestSchemas {
  tools?: unknown;
  output_config?: unknown;
  output_format?: unknown;
}

/** The findings of a walk through a schema. */
interface SchemaFindings {
  faults: SchemaFault[];
  properties: number;
  optional: number;
}

/**
 * Finds what the API refuses in the schemas of a request. Of a tool that is not strict, it reads only the top level.
 *
 * @param request the body of a message; what is not of a known form is left to the API
 * @returns the faults, in the order of the request; none for what is sent
 */
export function findRejectedSchemaParts({ tools, output_config, output_format }: RequestSchemas): SchemaFault[] {
  const list = Array.isArray(tools) ? (tools as unknown[]) : [];
  const formats = {
    'output_config.format': isObject(output_config) ? output_config.format : undefined,
    // Check `output_format`, too: clients may still send this earlier name of `output_config.format`.
    output_format,
  };
  const strict: SchemaFindings[] = [];
  const faults: SchemaFault[] = [];
  for (const [index, tool] of list.entries()) {
    if (!isObject(tool) || !isObject(tool.input_schema)) continue;
    const path = `tools.${index}.${typeof tool.type === 'string' ? tool.type : 'custom'}.input_schema`;
    if (UNION_KEYWORDS.some((name) => Object.hasOwn(tool.input_schema as JsonObject, name))) {
      const problem = `${path}: input_schema does not support oneOf, allOf, or anyOf at the top level`;
      faults.push({ problem, path: '', tool: index });
    } else if (tool.strict === true) strict.push(collectSchemaFindings(tool.input_schema, path, index));
  }
  const ofTools = strict.length;
  for (const [path, format] of Object.entries(formats)) {
    if (isObject(format) && isObject(format.schema))
      strict.push(collectSchemaFindings(format.schema, `${path}.schema`));
  }
  faults.push(...strict.flatMap((one) => one.faults));
  const sumOfFindings = (name: 'properties' | 'optional') => strict.reduce((before, one) => before + one[name], 0);
  const most = [
    ofTools > MAX_STRICT_TOOLS &&
      `Too many strict tools (${ofTools}). The maximum number of strict tools supported is ${MAX_STRICT_TOOLS}.`,
    sumOfFindings('properties') > MAX_PROPERTIES && TOO_COMPLEX_MESSAGE,
    sumOfFindings('optional') > MAX_OPTIONAL_PROPERTIES &&
      `Schemas contains too many optional parameters (${sumOfFindings('optional')}), which would make grammar compilation inefficient. Reduce the number of optional parameters in your tool schemas (limit: ${MAX_OPTIONAL_PROPERTIES}).`,
  ];
  return [...faults, ...most.flatMap((problem) => (problem === false ? [] : [{ problem, path: '' }]))];
}

/** @returns how many members of all objects of a schema may be left out */
export function countOptionalProperties(schema: JsonObject): number {
  return collectSchemaFindings(schema, '').optional;
}

function collectSchemaFindings(root: JsonObject, path: string, tool?: number): SchemaFindings {
  const found: SchemaFindings = { faults: [], properties: 0, optional: 0 };
  const open = new Set<JsonObject>();
  const done = new Set<JsonObject>();
  const which = tool === undefined ? {} : { tool };
  const addFault = (words: string, at: string) =>
    found.faults.push({ problem: `${path}: ${words}`, path: at, ...which });
  const walkSubschema = (schema: unknown, at: string): void => {
    if (!isObject(schema) || done.has(schema)) return;
    // Nested objects cannot contain themselves, so only a `$ref` can lead back to a schema that is still open.
    if (open.has(schema)) return void addFault('Circular reference detected in schema definitions', at);
    if (open.size >= MAX_GRAMMAR_DEPTH) return void addFault(TOO_COMPLEX_MESSAGE, at);
    open.add(schema);
    for (const words of findRejectedKeywords(schema)) addFault(words, at);
    if (isObject(schema.properties)) {
      const required = new Set(Array.isArray(schema.required) ? (schema.required as unknown[]) : []);
      const names = Object.keys(schema.properties);
      found.properties += names.length;
      found.optional += names.filter((name) => !required.has(name)).length;
    }
    for (const [inner, where] of listInnerSchemas(schema)) walkSubschema(inner, at === '' ? where : `${at}.${where}`);
    if (typeof schema.$ref === 'string') walkSubschema(findReferencedSchema(schema.$ref, root), schema.$ref);
    open.delete(schema);
    done.add(schema);
  };
  walkSubschema(root, '');
  return found;
}

/** Yields the API's words for what it refuses of a schema itself, without those within it. */
function* findRejectedKeywords(schema: JsonObject): Generator<string> {
  const { type, format, minItems, enum: choices, properties, additionalProperties, anyOf, items } = schema;
  const hasKeyword = (name: string) => Object.hasOwn(schema, name);
  if (Object.keys(schema).length === 0) yield 'Empty schema ({}) that accepts any JSON value is not supported';
  if (hasKeyword('oneOf')) yield "Schema type 'oneOf' is not supported";
  for (const name of REJECTED_KEYWORDS) if (hasKeyword(name)) yield `Schema keyword '${name}' is not supported`;
  if (anyOf !== undefined && type !== undefined) yield "For 'anyOf', 'type' is not supported";
  const types = (Array.isArray(type) ? type : [type]).filter((one) => typeof one === 'string');
  for (const one of types) {
    for (const name of Object.hasOwn(REJECTED_KEYWORDS_BY_TYPE, one) ? (REJECTED_KEYWORDS_BY_TYPE[one] ?? []) : []) {
      if (hasKeyword(name)) yield `For '${one}' type, property '${name}' is not supported`;
    }
  }
  if (Array.isArray(items)) yield "For 'array' type, property 'items' as a list is not supported";
  if ((type === 'object' || isObject(properties)) && additionalProperties !== false) {
    yield "For 'object' type, 'additionalProperties' must be explicitly set to false";
  }
  if (minItems !== undefined && minItems !== 0 && minItems !== 1) {
    yield "'minItems' values other than 0 or 1 are not supported";
  }
  if (typeof format === 'string' && !STRING_FORMATS.includes(format))
    yield `String format '${format}' is not supported`;
  // The API rejects an `enum` value that matches none of the types, even if `type` is a list.
  const strange =
    Array.isArray(choices) && type !== undefined ? choices.find((one) => !isOfSchemaType(one, type)) : undefined;
  if (strange !== undefined) {
    const name = Array.isArray(type) ? `[${types.map((one) => `'${one}'`).join(', ')}]` : String(type);
    const value = typeof strange === 'string' ? `'${strange}'` : JSON.stringify(strange);
    yield `Enum value ${value} does not match declared type '${name}'`;
  }
}

/** Yields the schemas within a schema, each with its path. */
function* listInnerSchemas(schema: JsonObject): Generator<[inner: unknown, where: string]> {
  for (const name of ['$defs', 'definitions', 'properties', ...UNION_KEYWORDS]) {
    const inner = schema[name];
    // Properties are in an object, alternatives in an array. `Object.entries` works for both: an array's indexes are its keys.
    if (isObject(inner) || Array.isArray(inner)) {
      for (const [key, one] of Object.entries(inner)) yield [one, `${name}.${key}`];
    }
  }
  for (const name of ['items', 'not']) yield [schema[name], name];
}
