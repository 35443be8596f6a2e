import { messagesRequest } from '../claude/messages.schema.ts';
import * as z from '../kit/http/zod.ts';
import { classifierRef } from './classifiers.schema.ts';

export const modelName = messagesRequest.shape.model.check(z.maxLength(256));

/** How an agent chooses its model for each conversation. */
export const modelByLabel = z.strictObject({
  by: z.addDescription(
    classifierRef,
    'The stored classifier that labels the question: `name`, which means the version of that moment, or `name@version`.',
  ),
  models: z.addDescription(
    z.catchall(z.object({}), modelName).check(
      z.refine((models) => Object.keys(models).length > 0, {
        error: 'Input should have a model for at least one label',
      }),
    ),
    'The model for each label. A label that is not here means `otherwise`.',
  ),
  otherwise: z.addDescription(modelName, 'Who answers where there is no label.'),
  overridable: z.createOptionalField(
    z.boolean(),
    'Whether a request may name one of these models by the header `sluice-model`. Default: no.',
  ),
});
export type ModelByLabel = z.output<typeof modelByLabel>;

/** @returns the models that an agent may choose, by the names that it has for them */
export function listSelectableModels({ models, otherwise }: ModelByLabel): string[] {
  return [...new Set([...Object.values(models), otherwise])];
}
