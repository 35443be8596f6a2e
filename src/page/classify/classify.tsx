import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import type { ClassifyAnswer } from '../../client/index.ts';
import { formatErrorForUser } from '../edge/client.ts';
import { hasUnrestrictedScope, isRestricted, listRestrictedNames } from '../edge/identity.ts';
import { getModelDisplayName } from '../edge/models.ts';
import { SmallButton } from '../ui/button.tsx';
import { EmptyState } from '../ui/empty-state.tsx';
import { Facts } from '../ui/facts.tsx';
import { FaultMessage } from '../ui/fault.tsx';
import { CheckboxChip, Field, Form, Select, SubmitButton, TextArea } from '../ui/form.tsx';
import { formatCount, formatPercentage } from '../ui/format.ts';
import { Usd } from '../ui/usd.tsx';
import {
  busy,
  chosenClassifier,
  classifiers,
  fillAndClassifySample,
  formFault,
  formText,
  getResultLabels,
  isLabelSchema,
  isMulti,
  isNoneAllowed,
  isOutdated,
  labelsText,
  refreshClassifiers,
  shownAnswer,
  storeFormAsClassifier,
  submitClassifyForm,
} from './form.ts';
import { SAMPLES } from './samples.ts';

export function Classify() {
  useEffect(() => {
    refreshClassifiers().catch((thrown: unknown) => {
      formFault.value = formatErrorForUser(thrown);
    });
  }, []);
  return (
    <div class="page classify">
      <header class="stack">
        <h1>Classify</h1>
        <p class="lead-more">
          Enter a text{!isRestricted() && ' and some labels'}. {describePossibleResults()}
        </p>
        {!isRestricted() && (
          <p class="row">
            {SAMPLES.map((sample) => (
              <SmallButton key={sample.title} name={sample.title} onClick={() => void fillAndClassifySample(sample)} />
            ))}
          </p>
        )}
      </header>
      <div class="classify-columns">
        <ClassifyForm />
        <ClassifyResultView />
      </div>
    </div>
  );
}

/** @returns which results are possible with the settings of the form */
function describePossibleResults(): string {
  if (chosenClassifier.value !== '') return `The classifier ${chosenClassifier.value} determines the possible results.`;
  if (isLabelSchema.value) return 'The response always matches the schema.';
  const count = isMulti.value ? 'one or more' : 'one';
  return `The response is always ${count} of these labels${isNoneAllowed.value ? ', or none' : ''}.`;
}

function ClassifyForm() {
  const inline = chosenClassifier.value === '';
  return (
    <section class="stack" aria-label="Text and labels">
      <Form id="classify" onSubmit={() => void submitClassifyForm()}>
        <TextArea label="Text" rows={4} placeholder="The text to classify" value={formText} />
        <Field label="Classifier">
          {(ids) => (
            <Select
              {...ids}
              value={chosenClassifier.value}
              options={
                isRestricted()
                  ? listRestrictedNames('classifiers')
                  : [['', 'The labels below'], ...classifiers.value.map(({ name }) => name)]
              }
              onChoose={(name) => (chosenClassifier.value = name)}
            />
          )}
        </Field>
        {inline && (
          <>
            <TextArea
              label="Labels, or a JSON schema"
              rows={5}
              placeholder={'billing: invoices and refunds\nbug: something is broken'}
              value={labelsText}
            />
            {!isLabelSchema.value && (
              <p class="row">
                <CheckboxChip name="Allow several" value={isMulti} />
                <CheckboxChip name="Allow none" value={isNoneAllowed} />
              </p>
            )}
          </>
        )}
        <p class="row">
          <SubmitButton name="Classify" disabled={busy.value} />
        </p>
      </Form>
      {/* PUT /classifiers/:name */}
      {inline && labelsText.value.trim() !== '' && hasUnrestrictedScope('prefixes') && <StoreClassifierForm />}
    </section>
  );
}

/** Lets the user enter a name, and stores the labels as a classifier. */
function StoreClassifierForm() {
  return (
    <Form class="store-form" onSubmit={(data) => void storeFormAsClassifier(String(data.get('name')).trim())}>
      <input
        name="name"
        aria-label="Name of the classifier"
        placeholder="A name, such as tickets"
        required
        maxLength={64}
        autocomplete="off"
      />
      <SubmitButton name="Store labels" kind="plain" />
    </Form>
  );
}

function ClassifyResultView() {
  const found = shownAnswer.value;
  return (
    <section class="panel result" aria-label="Result" aria-busy={busy.value} data-outdated={isOutdated.value}>
      {formFault.value && <FaultMessage text={formFault.value} />}
      {found ? (
        <>
          <p class="result-labels">
            {getResultLabels(found).map((label) => (
              <strong key={label}>{label}</strong>
            ))}
            {getResultLabels(found).length === 0 && <span>none of these</span>}
          </p>
          {found.output && <pre class="raw">{JSON.stringify(found.output, undefined, 2)}</pre>}
          <Facts facts={createResultFacts(found)} />
          <p class="quiet">
            {isOutdated.value
              ? 'This is the result of the previous input. Classify again.'
              : found.cached
                ? 'This text was classified before. The result is from Sluice’s cache and was free.'
                : `Classified by ${getModelDisplayName(found.model)}. The same text is free for the next hour.`}
          </p>
        </>
      ) : (
        !formFault.value && (busy.value ? <p class="quiet result-empty">Classifying…</p> : <EmptyClassifyResult />)
      )}
    </section>
  );
}

function EmptyClassifyResult() {
  const [sample] = SAMPLES;
  // Restricted tokens cannot send labels.
  if (isRestricted()) return <p class="quiet">The label of the text appears here.</p>;
  return (
    <EmptyState example="Try it with a ticket" onTry={() => sample && void fillAndClassifySample(sample)}>
      Classify a text, such as a support ticket or a review. Its label appears here.
    </EmptyState>
  );
}

function createResultFacts({ cost_usd, usage, confidence }: ClassifyAnswer) {
  const input = usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens;
  return [
    ['Cost', <Usd key="cost" value={cost_usd} />],
    ['Tokens', `${formatCount(input)} in, ${formatCount(usage.output_tokens)} out`],
    ...(confidence === undefined ? [] : [['Agreement of votes', formatPercentage(confidence)]]),
  ] as [string, string | JSX.Element][];
}
