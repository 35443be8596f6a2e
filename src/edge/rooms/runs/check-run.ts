/** Checks the tools and limits of a run in a request, before anything is stored or goes up. */

import type { Identity } from '../../gate/identity/caller.ts';
import type { Settings } from '../../gate/settings/settings.ts';
import { invalidRequest } from '../../kit/http/errors.ts';
import { validate } from '../../kit/http/validate.ts';
import { refuseUndecidable } from './pauses.ts';
import { runLimits } from './runs.schema.ts';
import { checkTools, hasRun } from './tools/check-tools.ts';
import { refuseEdgeServer } from './tools/edge-server.ts';

/**
 * Checks the tools and limits of a run in a request to a conversation.
 *
 * @throws ApiError 400 for a malformed tool or limit, 403 for a caller who may not send such tools
 */
export function checkRun(body: Readonly<Record<string, unknown>>, identity: Identity, settings: Settings): void {
  const { tools } = body;
  refuseEdgeServer(body);
  if (hasRun(tools)) {
    validate(runLimits, body);
    refuseUndecidable(tools);
  }
  checkTools(tools, identity, settings);
}

/** @throws ApiError 400 if a request without a conversation has tools with `run` */
export function refuseRun(body: Readonly<Record<string, unknown>>): void {
  refuseEdgeServer(body);
  if (!hasRun(body.tools)) return;
  throw invalidRequest(
    'tools: those with `run` need a conversation, which keeps the steps. Send `conversation`, with an id of your own.',
  );
}
