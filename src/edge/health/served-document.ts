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
  for (const [plugin, routes] of getPluginMembersWithNames('routes')) {
    for (const route of routes) {
      const [method = '', path = ''] = route.name.split(' ');
      const template = toPathTemplate(path);
      paths[template] = { [method.toLowerCase()]: describeUnknownRoute(plugin, route), ...paths[template] };
    }
  }
  const tags = new Set(Object.values(paths).flatMap((item) => Object.values(item).flatMap((one) => one.tags ?? [])));
  const { schemas, ...components } = document.components;
  return {
    ...document,
    servers: document.servers.map((server) => ({ ...server, url: mount || '/' })),
    tags: document.tags.filter(({ name }) => tags.has(name)),
    paths,
    components: { ...components, schemas: selectReferencedSchemas({ paths, components }, schemas) },
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

interface ConvertibleSchema {
  jsonSchema?: { input(options: { target: 'draft-2020-12' }): JsonObject };
}

/** Describes a route without a reference: by its definition only. */
function describeUnknownRoute(plugin: string, { name, ...route }: AnyRoute) {
  const query = getQuerySchema(route.query);
  const { properties = {}, required = [] }: { properties?: JsonObject; required?: string[] } = toJsonSchema(query);
  const parameters = [
    ...[...name.matchAll(/:(\w+)/g)].map(([, parameter]) => ({
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
  ];
  return {
    tags: [plugin],
    summary: name,
    description: describeRequirements(route.needs, plugin),
    ...(isPublicRoute(route) ? { security: [] } : {}),
    parameters,
    ...(route.body
      ? { requestBody: { required: true, content: { 'application/json': { schema: toJsonSchema(route.body) } } } }
      : {}),
    responses: { default: { description: 'The response of the plugin, or an error.' } },
  };
}

/** @returns the JSON Schema of a request. An empty one, which allows any value, for schemas of `zod/mini`, which cannot be converted */
function toJsonSchema(schema: z.ZodMiniType | undefined): JsonObject {
  // `zod` adds this method to the properties that `zod/mini` has, too.
  const standard = schema?.['~standard'] as ConvertibleSchema | undefined;
  return standard?.jsonSchema?.input({ target: 'draft-2020-12' }) ?? {};
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
