/** Ensures that only the account that made a file, container or thread at an upstream can use it. */

import type { CreatedId, UpstreamResourceKind } from '../../claude/usage/created-ids.ts';
import { pause } from '../../kit/async/pause.ts';
import { type ApiError, createInvalidRequestError, createNonRetryableError } from '../../kit/http/errors.ts';
import { type AccountTarget, callAccount } from '../contracts/call-account.ts';
import type { OwnedResource } from '../contracts/ownership.ts';

/**
 * Milliseconds to wait before an unknown id is looked up again in the account. A response may just have created the resource,
 * and its report to the account is still in flight.
 */
const RECHECK_DELAY_MS = 500;

/** The API's words for something that does not exist. */
const UNKNOWN: Readonly<Record<UpstreamResourceKind, (id: string) => string>> = {
  file: (id) => `File not found: ${id}`,
  container: (id) => `Container not found: ${id}`,
  thread: (id) => `thread: no usable Thread state was found for previous_message_id ${id}`,
};

/** @returns the 404 for a resource that does not exist, or belongs to another account. It does not show which of the two. */
export function createResourceNotFoundError({ kind, id }: CreatedId): ApiError {
  // Anthropic's SDK reacts to the code `thread_not_found` by sending the whole conversation again.
  const details = kind === 'thread' ? { error_code: 'thread_not_found' } : undefined;
  return createNonRetryableError('not_found_error', UNKNOWN[kind](id.slice(0, 128)), { details });
}

/**
 * Finds which of the named things belong to the account, and where they are.
 *
 * @returns those that belong to the account, by id
 */
async function findOwnedResources(
  request: AccountTarget,
  ids: readonly CreatedId[],
): Promise<Map<string, OwnedResource>> {
  const found = await callAccount(request, (account) => account.ownership(ids.map(({ id }) => id)));
  return new Map(found.map((one) => [`${one.kind} ${one.id}`, one]));
}

/**
 * Checks that everything that a request names by id belongs to the account.
 *
 * @param refusalOf the error for those that do not
 * @returns the only upstream that has these things, to which the request must go; undefined if the request names nothing, or
 *   if there was only one upstream
 * @throws ApiError 404 for a thing that does not belong to the account, or `refusalOf`; 400 for things of several upstreams
 */
export async function requireResourcesOwnedByAccount(
  request: AccountTarget,
  ids: readonly CreatedId[],
  refusalOf: (unknown: readonly [CreatedId, ...CreatedId[]]) => ApiError = ([first]) =>
    createResourceNotFoundError(first),
): Promise<string | undefined> {
  if (ids.length === 0) return undefined;
  const listMissingIds = (found: Map<string, OwnedResource>) =>
    ids.filter(({ kind, id }) => !found.has(`${kind} ${id}`));
  let found = await findOwnedResources(request, ids);
  if (listMissingIds(found).length > 0) {
    await pause(RECHECK_DELAY_MS);
    found = await findOwnedResources(request, ids);
  }
  const [unknown, ...more] = listMissingIds(found);
  if (unknown) throw refusalOf([unknown, ...more]);
  const [only, another] = new Set([...found.values()].map(({ upstream }) => upstream).filter((name) => name !== ''));
  if (another !== undefined) {
    throw createInvalidRequestError(
      `The request refers to files, containers or threads of two upstreams, ${only} and ${another}, but is sent to only one. Upload the files again, and use the new ids.`,
    );
  }
  return only;
}

/**
 * Records in the account what an answer has made.
 *
 * @param upstream the name of the upstream that has answered; undefined if there is only one
 */
export async function recordCreatedResources(
  request: AccountTarget,
  ids: readonly CreatedId[] | undefined,
  upstream: string | undefined,
): Promise<void> {
  if (!ids || ids.length === 0) return;
  const resources = ids.map((one) => ({ ...one, upstream: upstream ?? '' }));
  await callAccount(request, (account) => account.recordCreatedResources(resources), 'persistent');
}
