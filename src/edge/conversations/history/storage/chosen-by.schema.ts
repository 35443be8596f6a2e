import * as z from '../../../kit/http/zod.ts';

/** Why a request went to its model, where its agent chooses. */
export const chosenBySchema = z.object({
  label: z.addDescription(z.nullable(z.string()), 'The label of the question. Null if the question has no label.'),
  classifier: z.addDescription(
    z.nullable(z.string()),
    'The version of the classifier, `name@version`. Null if no classifier was used.',
  ),
  arm: z.addDescription(
    z.enum(['chosen', 'asked']),
    '`chosen`: the classifier chose the model. `asked`: the request named it.',
  ),
  why: z.addDescription(
    z.enum(['label', 'kept', 'step_up', 'asked', 'failed']),
    '`kept`: the label may select another model, but the conversation keeps its model. `step_up`: two labels in a row selected a more expensive model. `failed`: there was no label.',
  ),
  part: z.createOptionalField(
    z.enum(['first', 'step_up', 'again', 'next']),
    'The position of the request in its conversation: the first one, the first one after a step up, the first one after a message was repeated or edited, or another one.',
  ),
  owner: z.createOptionalField(
    z.enum(['account', 'deployment']),
    'Who stored the agent: the `account`, or an admin for the `deployment`.',
  ),
  request_id: z.createOptionalField(
    z.string(),
    'Only for rows with the route `choice`: the request whose model was chosen.',
  ),
});
export type ModelSelectionReason = z.output<typeof chosenBySchema>;
