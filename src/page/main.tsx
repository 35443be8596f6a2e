import { render } from 'preact';
import { App } from './app.tsx';
import { checkConnection } from './edge/client.ts';
import { applyThemeOnChange } from './theme.ts';

applyThemeOnChange();
const root = document.getElementById('page');
if (root) {
  // The sketch of index.html goes with the first thing that is shown. A rule of CSS that waits for it would have each change of
  // the page work out all styles anew.
  const renderObserver = new MutationObserver(() => {
    if (!root.querySelector('main > *')) return;
    renderObserver.disconnect();
    document.getElementById('skeleton')?.remove();
  });
  renderObserver.observe(root, { childList: true, subtree: true });
  render(<App />, root);
}
void checkConnection();
