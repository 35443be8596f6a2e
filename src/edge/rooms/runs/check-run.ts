/** Checks the tools and limits of a run in a request, before anything is stored or goes up. */

import type { Identity } from '../../gate/identity/caller.ts';
import type { Settings } from '../../gate/settings/settings.ts';
import { validate } from '../../kit/http/validate.ts';
import { refuseEdgeServer } from '../../talk/contracts/edge-server.ts';
import { hasRun } from '../../talk/contracts/edge-tools.ts';
import { runLimits } from '../../talk/contracts/run-limits.schema.ts';
import { refuseUndecidable } from './pauses.ts';
import { checkTools } from './tools/check-tools.ts';

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
