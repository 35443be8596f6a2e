import { listGuardErrors } from '../auth/guard-errors.ts';
import { type AnyRoute, getQuerySchema, getRequiredScopes, isPublicRoute } from '../auth/route.ts';
import { findPluginOfPath } from '../config/plugin-paths.ts';
import type * as z from '../kit/http/zod.ts';
import type { JsonObject } from '../kit/json/object.ts';
import { getPluginMembersWithNames, hasPlugin } from '../kit/plugins/plugins.ts';

/** The parts of an OpenAPI document that depend on the plugins of a deployment. */
export interface OpenApiDocument {
  servers: readonly { url: string }[];
  tags: readonly { name: string }[];
  /** The operations by path and method. */
  paths: Readonly<Record<string, Readonly<Record<string, { tags?: readonly string[] }>>>>;
  components: { schemas: Readonly<Record<string, unknown>> };
}

/**
 * Reduces the document of all plugins' routes to the routes of this deployment, and adds those of plugins that Sluice does not
 * provide, as far as their definitions describe them.
 *
 * @param mount the path below which the app is mounted, empty for `/`
 */
export function selectServedRoutes(document: OpenApiDocument, mount: string): OpenApiDocument {
  const served = Object.entries(document.paths).filter(([path]) => {
    const plugin = findPluginOfPath(path);
    return plugin === undefined || hasPlugin(plugin);
  });
  const paths: Record<string, OpenApiDocument['paths'][string]> = Object.fromEntries(served);
  const { schemas, ...components } = document.components;
  const all = { ...schemas };
  for (const [plugin, routes] of getPluginMembersWithNames('routes')) {
    for (const route of routes) {
      const [method = '', path = ''] = route.name.split(' ');
      const template = toPathTemplate(path);
      paths[template] = { [method.toLowerCase()]: describePluginRoute(plugin, route, all), ...paths[template] };
    }
  }
  const tags = new Set(Object.values(paths).flatMap((item) => Object.values(item).flatMap((one) => one.tags ?? [])));
  return {
    ...document,
    servers: document.servers.map((server) => ({ ...server, url: mount || '/' })),
    tags: document.tags.filter(({ name }) => tags.has(name)),
    paths,
    components: { ...components, schemas: selectReferencedSchemas({ paths, components }, all) },
  };
}

/** @returns a path as OpenAPI writes it: `/accounts/{id}` */
export function toPathTemplate(path: string): string {
  return path.replaceAll(/:(\w+)/g, '{$1}');
}

/** @returns the sentences about the scope and the plugin that a route requires; empty if it requires neither */
export function describeRequirements(needs: AnyRoute['needs'], plugin: string | undefined): string {
  const scopes = getRequiredScopes(needs).map((scope) => `\`${scope}\``);
  return [
    ...(scopes.length > 0 ? [`Requires the scope ${scopes.join(' or ')}.`] : []),
    ...(plugin === undefined ? [] : [`Requires the plugin \`${plugin}\`.`]),
  ].join(' ');
}

/** A schema of `zod`, which can describe itself. A schema of `zod/mini` cannot. */
interface ConvertibleSchema {
  readonly '~standard': {
    readonly jsonSchema?: Readonly<Record<'input' | 'output', (options: { target: 'draft-2020-12' }) => JsonObject>>;
  };
}

/**
 * Describes a route of a plugin that Sluice does not provide, by its definition and its texts, if it has any.
 *
 * @param schemas gets the schemas that the operation references
 */
function describePluginRoute(
  plugin: string,
  { name, texts, ...route }: AnyRoute,
  schemas: Record<string, unknown>,
): JsonObject & { tags: readonly string[] } {
  const convert = (schema: z.core.$ZodType | undefined, io: 'input' | 'output') => {
    const { '~standard': standard } = (schema ?? {}) as Partial<ConvertibleSchema>;
    return hoistDefinitions(standard?.jsonSchema?.[io]({ target: 'draft-2020-12' }) ?? {}, plugin, schemas);
  };
  const query = getQuerySchema(route);
  const { properties = {}, required = [] } = convert(query, 'input') as {
    properties?: JsonObject;
    required?: readonly string[];
  };
  const words = [texts?.description, describeRequirements(route.needs, plugin)].filter((text) => text !== undefined);
  const parts = {
    hasBody: route.body !== undefined,
    hasQuery: query !== undefined,
    hasPathParameters: name.includes(':'),
  };
  const errors = [...new Set(listGuardErrors(route, parts))].map(String).sort();
  return {
    ...(texts && { operationId: texts.operation }),
    tags: [plugin],
    summary: texts?.summary ?? name,
    description: words.join('\n\n'),
    ...(isPublicRoute(route) ? { security: [] } : {}),
    parameters: [
      ...[...name.matchAll(/:(\w+)/g)].map(([, parameter = '']) => ({
        name: parameter,
        in: 'path',
        required: true,
        schema: { type: 'string' },
      })),
      ...Object.keys(query?.shape ?? {}).map((parameter) => ({
        name: parameter,
        in: 'query',
        required: required.includes(parameter),
        schema: properties[parameter] ?? {},
      })),
    ],
    ...(route.body && { requestBody: { required: true, ...createJsonContent(convert(route.body, 'input')) } }),
    responses: {
      200: {
        description: 'The response.',
        ...(texts?.response && createJsonContent(convert(texts.response, 'output'))),
      },
      ...Object.fromEntries(errors.map((status) => [status, { $ref: `#/components/responses/Error${status}` }])),
    },
  };
}

function createJsonContent(schema: JsonObject): JsonObject {
  return { content: { 'application/json': { schema } } };
}

/**
 * Moves the definitions of a schema to the document's schemas, because references are relative to the document. Their names
 * begin with the plugin's, so that they differ from those of Sluice's schemas.
 *
 * @returns the schema, with its references changed
 */
function hoistDefinitions(schema: JsonObject, plugin: string, schemas: Record<string, unknown>): JsonObject {
  const text = JSON.stringify(schema).replaceAll('"$ref":"#/$defs/', `"$ref":"#/components/schemas/${plugin}.`);
  const { $schema: _, $defs = {}, ...rest } = JSON.parse(text) as JsonObject & { $defs?: object };
  for (const [name, definition] of Object.entries($defs)) schemas[`${plugin}.${name}`] = definition;
  return rest;
}

/** @returns the schemas to which a value refers, directly or through other schemas */
function selectReferencedSchemas(value: unknown, schemas: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const names = new Set<string>();
  const collect = (part: unknown) => {
    for (const [, name = ''] of JSON.stringify(part).matchAll(/"#\/components\/schemas\/([^"]+)"/g)) {
      if (names.has(name)) continue;
      names.add(name);
      collect(schemas[name] ?? null);
    }
  };
  collect(value);
  return Object.fromEntries(Object.entries(schemas).filter(([name]) => names.has(name)));
}
