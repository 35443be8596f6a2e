import { isNewerBetaRequested, type RequestedBetas } from '../../api-rules/betas.ts';
import { findBodyFault } from '../../api-rules/field-types.ts';
import type { JsonObject } from '../../api-rules/json.ts';
import { REQUEST_FIELDS } from '../../api-rules/request-fields.ts';
import { findToolListFaults } from '../../api-rules/tool-list-faults.ts';
import { createInvalidRequestError } from './errors.ts';

/**
 * Rejects unknown fields and wrong JSON types anywhere in a body, and tools that do not go together.
 *
 * @throws ApiError 400 in the API's words
 */
export function validateFields(
  body: JsonObject,
  root: 'MessageCreateParams' | 'MessageCountTokensParams',
  betas: RequestedBetas,
): void {
  // If a beta is requested that the simulator does not know, it may allow unknown fields, so do not check the fields.
  const fault = isNewerBetaRequested(betas) ? undefined : findBodyFault(body, root, REQUEST_FIELDS, betas);
  if (fault !== undefined) throw createInvalidRequestError(fault);
  const [ofTools] = findToolListFaults({ ...body, mcp_servers: body.mcp_servers ?? [] }, betas);
  if (ofTools !== undefined) throw createInvalidRequestError(ofTools);
}
