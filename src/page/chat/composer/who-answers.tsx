import { agents } from '../../edge/agents.ts';
import { chooseModel, model, models } from '../../edge/models.ts';
import { session } from '../session/conversations.ts';
import { agent } from '../session/options.ts';

/** Distinguishes an agent's name from a model's id. */
const AGENT = 'agent ';

/** Lets the user choose who answers: a model, or for a new conversation an agent, which has a model of its own. */
export function WhoAnswers() {
  const current = session.value;
  const retained = current?.report.value?.agent?.name;
  const named = current ? retained : agent.value || undefined;
  const names = current ? [retained ?? []].flat() : [...new Set(agents.value?.map(({ name }) => name))];
  const choose = (value: string) => {
    agent.value = value.startsWith(AGENT) ? value.slice(AGENT.length) : '';
    if (agent.value === '') chooseModel(value);
  };
  const options = models.value.map(({ id, display_name }) => (
    <option key={id} value={id}>
      {display_name}
    </option>
  ));
  return (
    <select
      aria-label={names.length === 0 ? 'Model' : 'Model or agent'}
      title={retained === undefined ? undefined : 'A conversation keeps the agent it started with'}
      disabled={retained !== undefined}
      value={named === undefined ? model.value?.id : AGENT + named}
      onChange={(event) => choose(event.currentTarget.value)}
    >
      {names.length === 0 ? options : <optgroup label="Models">{options}</optgroup>}
      {names.length > 0 && (
        <optgroup label="Agents">
          {names.map((name) => (
            <option key={name} value={AGENT + name}>
              {name}
            </option>
          ))}
        </optgroup>
      )}
    </select>
  );
}
