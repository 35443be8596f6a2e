import * as z from '../../../kit/http/zod.ts';

/** Why a request went to its model, where its agent chooses. */
export const chosenBySchema = z.object({
  label: z.addDescription(z.nullable(z.string()), 'The label of the question. Null: there is none.'),
  classifier: z.addDescription(
    z.nullable(z.string()),
    'The version of the classifier, `name@version`. Null: there is none.',
  ),
  arm: z.addDescription(
    z.enum(['chosen', 'asked']),
    '`chosen`: the classifier chose the model. `asked`: the request named it.',
  ),
  why: z.addDescription(
    z.enum(['label', 'kept', 'step_up', 'asked', 'failed']),
    '`kept`: the label may mean another model, but the conversation stays with its own. `step_up`: two labels in a row meant a dearer one. `failed`: there was no label.',
  ),
  part: z.createOptionalField(
    z.enum(['first', 'step_up', 'again', 'next']),
    'What the request was for its conversation: its first, the first after a step up, the first after a question was asked again or edited, or another.',
  ),
  owner: z.createOptionalField(
    z.enum(['account', 'deployment']),
    'Who stored the agent: the `account`, or an admin for the `deployment`.',
  ),
  request_id: z.createOptionalField(
    z.string(),
    'Of a row whose route is `choice`: the request for which it labels the question.',
  ),
});
export type ModelSelectionReason = z.output<typeof chosenBySchema>;
