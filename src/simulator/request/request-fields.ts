import type { RequestedBetas } from '../../api-rules/betas.ts';
import { findBodyFault } from '../../api-rules/field-types.ts';
import type { JsonObject } from '../../api-rules/json.ts';
import { REQUEST_FIELDS } from '../../api-rules/request-fields.ts';
import { createInvalidRequestError } from './errors.ts';

/** Rejects unknown fields and wrong JSON types anywhere in a body. @throws ApiError 400 in the API's words */
export function validateFieldTypes(
  body: JsonObject,
  root: 'MessageCreateParams' | 'MessageCountTokensParams',
  betas: RequestedBetas,
): void {
  const fault = findBodyFault(body, root, REQUEST_FIELDS, betas);
  if (fault !== undefined) throw createInvalidRequestError(fault);
}
