import type { AnyRoute } from '../../auth/route.ts';
import * as z from '../../kit/http/zod.ts';
import type { ErrorStatus } from '../../openapi/errors.ts';
import { type ApiResource, type DescribedResponse, describeDynamicRoutes } from '../../openapi/resource.ts';
import { createNamedListSchema, describeJsonResponse, describePageResponse } from '../../openapi/responses.ts';
import { pinnedField } from './versions.schema.ts';
import { nameRow, versionRow, versionWithdrawn } from './versions-answers.schema.ts';

/** The lists of stored things, the same for every kind. */
const nameList = createNamedListSchema('NameList', z.addReferenceMeta(nameRow, { id: 'Name' }));
const versionList = createNamedListSchema('VersionList', z.addReferenceMeta(versionRow, { id: 'Version' }));
const withdrawnVersion = z.addReferenceMeta(versionWithdrawn, { id: 'VersionWithdrawn' });
const storedAt = '2026-11-20T10:06:16.310Z';

interface VersionedResourceReference {
  kind: 'prefix' | 'classifier' | 'agent';
  /** The kind's name in operations and schemas: `ParsedPrefix`. */
  title: string;
  plural: 'prefixes' | 'classifiers' | 'agents';
  /** A stored version, as lists show it. */
  example: { name: string; version: string; description: string | null; bytes: number };
  put: {
    schemas: { fields: z.ZodMiniObject; pointer: z.ZodMiniObject };
    example: unknown;
    answer: DescribedResponse;
    errors: readonly ErrorStatus[];
  };
  /** The answer to a read: the whole content of a version. */
  content: { schema: z.ZodMiniType; example: unknown };
  deleted: z.ZodMiniType;
  remove: { summary: string; description?: string };
}

/** Describes what stands in the paths of these routes. */
export const createParameterDescriptions = (example: string) => ({
  name: { description: 'The name. To read a specific version: `name@version`.', example },
  hash: { description: 'The part of the version after the `@`.', example: '6d0c1f2ab1f84b7b9c1dd0ad6f7a3a54' },
});

/** Describes the routes that every kind stored in versions has. */
export function createVersionedRoutesReference(
  routes: readonly AnyRoute[],
  stored: VersionedResourceReference,
): ApiResource['routes'] {
  const { kind, title, plural, put, content, deleted, remove } = stored;
  const { name, version, description, bytes } = stored.example;
  const one = `${kind === 'agent' ? 'an' : 'a'} ${kind}`;
  const shared = { version, description, bytes, created_at: storedAt };
  const row = { type: kind, name, owner: 'account', updated_at: storedAt, ...shared };
  const versionExample = { type: `${kind}_version`, current: true, pinned: false, ...shared };
  const fields = z.addReferenceMeta(z.extend(put.schemas.fields, pinnedField.shape), { id: `${title}Fields` });
  const pointer = z.addReferenceMeta(z.extend(put.schemas.pointer, pinnedField.shape), { id: `${title}Pointer` });
  return describeDynamicRoutes(routes, {
    [`GET /${plural}`]: {
      operation: `list${title}${plural === 'prefixes' ? 'es' : 's'}`,
      summary: `List ${plural}`,
      answer: describePageResponse(nameList, row, name, 'A page of the list, sorted by name.'),
    },
    [`PUT /${plural}/:name`]: {
      operation: `put${title}`,
      summary: `Store ${one}, or change its current version`,
      description:
        'Admins store for the whole deployment, other callers for their account. You can send the response of `GET` unchanged: read-only fields (`type`, `name`, `owner`, times, and `version` together with other fields) are ignored, and no new version is created.',
      body: { id: `${title}Request`, schema: z.union([fields, pointer]), example: put.example },
      answer: put.answer,
      errors: put.errors,
    },
    [`GET /${plural}/:name`]: {
      operation: `get${title}`,
      summary: `Retrieve ${one}`,
      answer: describeJsonResponse('The version with its content.', content.schema, content.example),
      errors: [503],
    },
    [`GET /${plural}/:name/versions`]: {
      operation: `list${title}Versions`,
      summary: `List the versions of ${one}, newest first`,
      answer: describePageResponse(versionList, versionExample, version),
    },
    [`DELETE /${plural}/:name`]: {
      operation: `delete${title}`,
      ...remove,
      answer: describeJsonResponse('Confirms the deletion.', deleted, { type: `${kind}_deleted`, name }),
      errors: [503],
    },
    [`DELETE /${plural}/:name/versions/:hash`]: {
      operation: `withdraw${title}Version`,
      summary: `Withdraw a version of ${one}`,
      description:
        'Conversations with this version get a 409 at their next turn. To undo the withdrawal, store the same content again.',
      answer: describeJsonResponse('Confirms that no one can use the version any more.', withdrawnVersion, {
        type: `${kind}_version_withdrawn`,
        version,
      }),
      errors: [400, 404, 503],
    },
  });
}
