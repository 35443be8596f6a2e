/** Makes the OpenAPI document of all routes, from the schemas that check their requests. */

import './with-all-plugins.ts';
import {
  createDocument,
  type ZodOpenApiOperationObject,
  type ZodOpenApiPathsObject,
  type ZodOpenApiResponseObject,
} from 'zod-openapi';
import { listGuardErrors } from './auth/guard-errors.ts';
import { classification } from './classify/classification.reference.ts';
import { findPluginOfPath } from './config/plugin-paths.ts';
import { conversations } from './conversations/object/conversations.reference.ts';
import { health } from './health/health.reference.ts';
import { reference } from './health/openapi.reference.ts';
import { describeRequirements, toPathTemplate } from './health/served-document.ts';
import * as z from './kit/http/zod.ts';
import { getPluginMembers } from './kit/plugins/plugins.ts';
import { counts, messages } from './messages/messages.reference.ts';
import { models } from './messages/models.reference.ts';
import { accounts } from './money/account/accounts.reference.ts';
import { usage } from './money/account/usage.reference.ts';
import { tokens } from './money/credentials/tokens.reference.ts';
import { createErrorExamples, ERRORS, type ErrorStatus, errorSchema } from './openapi/errors.ts';
import { createHeaderSchema, RESPONSE_HEADERS } from './openapi/headers.ts';
import {
  type ApiResource,
  type BodyContent,
  type DescribedResponse,
  type DescribedRoute,
  getResponsesByStatus,
} from './openapi/resource.ts';
import { agents } from './plugins/agents/agents.reference.ts';
import { AGENT_HEADER_WORDS } from './plugins/agents/plugin.ts';
import { batches } from './plugins/batches/batches.reference.ts';
import { classifications } from './plugins/batches/classifications.reference.ts';
import { evaluations } from './plugins/evaluation/evaluation.reference.ts';
import { files } from './plugins/files/files.reference.ts';
import { changes } from './plugins/operator/changes.reference.ts';
import { metrics } from './plugins/operator/metrics.reference.ts';
import { overview } from './plugins/operator/overview.reference.ts';
import { deploymentPools, groups, spenders } from './plugins/pools/pools.reference.ts';
import { approvals } from './plugins/runs/approvals/approvals.reference.ts';
import { RUN_HEADER_WORDS } from './plugins/runs/plugin.ts';
import { accountBackups, conversationBackups, versionBackups } from './plugins/transfer/backup.reference.ts';
import { transfers } from './plugins/transfer/transfer.reference.ts';
import { visitors } from './plugins/visitors/visitors.reference.ts';
import { alerts } from './plugins/webhooks/alerts.reference.ts';
import { webhooks } from './plugins/webhooks/webhooks.reference.ts';
import { prefixes } from './registry/prefixes/prefixes.reference.ts';

/** All resources, in the order in which the page shows them. A new resource is a new entry. */
export const RESOURCES: readonly ApiResource[] = [
  messages,
  counts,
  models,
  batches,
  files,
  conversations,
  transfers,
  approvals,
  conversationBackups,
  agents,
  prefixes,
  classification,
  evaluations,
  classifications,
  webhooks,
  groups,
  deploymentPools,
  usage,
  spenders,
  accounts,
  accountBackups,
  versionBackups,
  tokens,
  visitors,
  alerts,
  changes,
  health,
  metrics,
  overview,
  reference,
];

const INTRODUCTION = `Sluice is a gateway between your frontends and the Claude API. To use it, change the base URL of your Messages API client: \
the Messages API is Anthropic's, with \`conversation\` and \`prefix\` added.

Errors have Anthropic's envelope. Lists page by \`after_id\` and \`before_id\`. Money is in US dollars with at most nine decimals. \
Times are RFC 3339 in UTC. Every response includes the header \`sluice-request-id\`.

The description of a route names the plugin that it requires. \`GET /health\` lists the plugins that a deployment includes.`;

/** The headers that every answer has. */
const ID_HEADERS = ['sluice-request-id', 'request-id'];
/** What all headers of answers mean. A plugin with headers is a new line. */
const HEADER_DESCRIPTIONS: typeof RESPONSE_HEADERS = {
  ...RESPONSE_HEADERS,
  ...AGENT_HEADER_WORDS,
  ...RUN_HEADER_WORDS,
};

/** @returns the OpenAPI 3.1 document as an object that can be written as JSON. */
export function createOpenApiDocument() {
  const paths: ZodOpenApiPathsObject = {};
  for (const resource of RESOURCES) {
    for (const [key, route] of Object.entries(resource.routes)) {
      const [method = '', path = ''] = key.split(' ');
      const template = toPathTemplate(path);
      paths[template] = { ...paths[template], [method.toLowerCase()]: createOperation(resource, path, route) };
    }
  }
  return createDocument(
    {
      openapi: '3.1.1',
      info: { title: 'Sluice', version: '1', description: INTRODUCTION, license: { name: 'MIT', identifier: 'MIT' } },
      servers: [{ url: '/', description: 'This deployment.' }],
      tags: RESOURCES.flatMap(({ tag: name, description }) =>
        description === undefined ? [] : [{ name, description }],
      ),
      security: [{ bearer: [] }, { apiKey: [] }],
      paths,
      components: {
        responses: Object.fromEntries(
          listAllErrorStatuses().map((status) => [`Error${status}`, createErrorResponse(status)]),
        ),
        securitySchemes: {
          bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT', description: 'A token of this deployment.' },
          apiKey: { type: 'apiKey', in: 'header', name: 'x-api-key', description: 'The same token, as an API key.' },
        },
      },
    },
    {
      override: ({ jsonSchema, io }) => {
        // Allow unknown members in responses: a later version may add some, and today's clients must accept them.
        if (io === 'output' && jsonSchema.additionalProperties === false) delete jsonSchema.additionalProperties;
        // Remove the bounds of JavaScript's safe integers, which are not limits of this API.
        if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
        if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
        if (io === 'input' && 'default' in jsonSchema) moveDefaultToDescription(jsonSchema);
      },
    },
  );
}

/**
 * Moves the default of a request's field into its description: generators of clients, openapi-typescript 7 among them, make a
 * field with a `default` required.
 */
function moveDefaultToDescription(schema: { default?: unknown; description?: string }): void {
  const { default: value, description = '' } = schema;
  delete schema.default;
  if (/\bdefault/i.test(description)) return;
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  schema.description = `${description} Default: \`${text}\`.`.trimStart();
}

function createOperation(resource: ApiResource, path: string, route: DescribedRoute): ZodOpenApiOperationObject {
  const names = [...path.matchAll(/:(\w+)/g)].map(([, name = '']) => name);
  const answers = Object.entries(getResponsesByStatus(route)).map(
    ([status, answer]) => [status, createOpenApiResponse(answer)] as const,
  );
  const errors = listErrorStatusesOfRoute(resource, route, names.length > 0).map(
    (status) => [String(status), { $ref: `#/components/responses/Error${status}` }] as const,
  );
  const requirements = describeRequirements(route.needs, findPluginOfPath(path));
  const description = [route.description, requirements].filter(Boolean).join('\n\n');
  return {
    operationId: route.operation,
    tags: [resource.tag],
    summary: route.summary,
    ...(description === '' ? {} : { description }),
    ...(route.needs === 'nothing' || route.needs === 'signature' ? { security: [] } : {}),
    requestParams: {
      ...(names.length > 0
        ? { path: z.object(Object.fromEntries(names.map((name) => createPathParameter(resource, name)))) }
        : {}),
      ...(route.query ? { query: route.query } : {}),
      ...(route.headers ? { header: route.headers } : {}),
    },
    ...(route.body ? { requestBody: { required: true, content: createMediaType(route.body) } } : {}),
    responses: Object.fromEntries([...answers, ...errors]),
  };
}

function createPathParameter(resource: ApiResource, name: string) {
  const told = resource.parameters?.[name];
  if (told === undefined) throw new Error(`${resource.tag} does not describe the parameter ${name}`);
  return [name, z.addReferenceMeta(z.string(), told)] as const;
}

/** @returns the errors of a route: its own, and those that every request of its kind can get. */
function listErrorStatusesOfRoute(
  resource: ApiResource,
  route: DescribedRoute,
  hasPathParameters: boolean,
): ErrorStatus[] {
  const { body, query, errors = resource.errors ?? [] } = route;
  const parts = { hasBody: body !== undefined, hasQuery: query !== undefined, hasPathParameters };
  const all = new Set<ErrorStatus>([...errors, ...listGuardErrors(route, parts)]);
  return [...all].sort((left, right) => left - right);
}

function listAllErrorStatuses(): ErrorStatus[] {
  return Object.keys(ERRORS).map((status) => Number(status) as ErrorStatus);
}

function createOpenApiResponse({
  description,
  content = [],
  headers = [],
  hasPluginHeaders,
}: DescribedResponse): ZodOpenApiResponseObject {
  const createSchemaByHeaderName = (name: string) => createHeaderSchema(name, HEADER_DESCRIPTIONS[name]);
  const extra = [...headers, ...(hasPluginHeaders ? getPluginMembers('headers').flat() : [])];
  return {
    description,
    headers: z.object({
      ...Object.fromEntries(ID_HEADERS.map((name) => [name, createSchemaByHeaderName(name)])),
      ...Object.fromEntries(extra.map((name) => [name, z.optional(createSchemaByHeaderName(name))])),
    }),
    ...(content.length > 0 ? { content: Object.assign({}, ...content.map(createMediaType)) } : {}),
  };
}

function createMediaType({ type = 'application/json', schema, example }: BodyContent) {
  return { [type]: { schema, example } };
}

function createErrorResponse(status: ErrorStatus): ZodOpenApiResponseObject {
  return {
    description: ERRORS[status].description,
    content: { 'application/json': { schema: errorSchema, examples: createErrorExamples(status) } },
  };
}
