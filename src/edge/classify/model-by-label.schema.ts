import { messagesRequest } from '../claude/messages.schema.ts';
import * as z from '../kit/http/zod.ts';
import { classifierRef } from './classifiers.schema.ts';

export const modelName = messagesRequest.shape.model.check(z.maxLength(256));

/** How an agent chooses its model for each conversation. */
export const modelByLabel = z.strictObject({
  by: z.addDescription(
    classifierRef,
    'The stored classifier that labels the question: `name@version`, or `name` for the version that is current when the agent is stored.',
  ),
  models: z.addDescription(
    z.catchall(z.object({}), modelName).check(
      z.refine((models) => Object.keys(models).length > 0, {
        error: 'Input should have a model for at least one label',
      }),
    ),
    'The model for each label. Labels without one use `otherwise`.',
  ),
  otherwise: z.addDescription(modelName, 'The model for questions without a label.'),
  overridable: z.createOptionalField(
    z.boolean(),
    'Whether a request can choose one of these models with the header `sluice-model`. Default: false.',
  ),
});
export type ModelByLabel = z.output<typeof modelByLabel>;

/** @returns the models that an agent may choose, by the names that it has for them */
export function listSelectableModels({ models, otherwise }: ModelByLabel): string[] {
  return [...new Set([...Object.values(models), otherwise])];
}
