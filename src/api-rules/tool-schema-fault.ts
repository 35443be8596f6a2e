/**
 * What the API rejects in any tool's `input_schema`, strict or not: names that are too long or have other characters, and keywords
 * of older dialects of JSON Schema. Source: errors that others have reported in 2025 and 2026.
 */

import { isJsonObject, type JsonObject } from './json.ts';

const PROPERTY_NAME = /^[a-zA-Z0-9_.-]{1,64}$/;
const DIALECT_FAULT =
  'JSON schema is invalid. It must match JSON Schema draft 2020-12 (https://json-schema.org/draft/2020-12). Learn more about tool use at https://docs.claude.com/en/docs/tool-use.';

/** Keywords whose value is a schema, a list of schemas, or schemas by name. */
const SCHEMA_KEYWORDS = ['items', 'additionalProperties', 'contains', 'not', 'if', 'then', 'else', 'propertyNames'];
const LIST_KEYWORDS = ['anyOf', 'oneOf', 'allOf', 'prefixItems'];
const MAP_KEYWORDS = ['properties', '$defs', 'definitions', 'patternProperties', 'dependentSchemas'];

/** @returns the API's words, behind the path of the schema; undefined for a schema that it accepts */
export function findToolSchemaFault(schema: JsonObject): string | undefined {
  const { properties } = schema;
  if (isJsonObject(properties) && Object.keys(properties).some((name) => !PROPERTY_NAME.test(name)))
    return `.properties: Property keys should match pattern '${PROPERTY_NAME.source}'`;
  return usesOldDialect(schema) ? `: ${DIALECT_FAULT}` : undefined;
}

function usesOldDialect(schema: JsonObject): boolean {
  const { exclusiveMinimum, exclusiveMaximum, required, items } = schema;
  const isOld =
    typeof exclusiveMinimum === 'boolean' ||
    typeof exclusiveMaximum === 'boolean' ||
    typeof required === 'boolean' ||
    Array.isArray(items) ||
    (schema.enum !== undefined && !Array.isArray(schema.enum));
  return isOld || listInnerSchemas(schema).some((inner) => isJsonObject(inner) && usesOldDialect(inner));
}

function listInnerSchemas(schema: JsonObject): unknown[] {
  const lists = LIST_KEYWORDS.flatMap((name) => schema[name]).filter((one) => one !== undefined);
  const maps = MAP_KEYWORDS.flatMap((name) => {
    const map = schema[name];
    return isJsonObject(map) ? Object.values(map) : [];
  });
  return [...SCHEMA_KEYWORDS.map((name) => schema[name]), ...lists, ...maps];
}
