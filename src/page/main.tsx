import { render } from 'preact';
import { App } from './app.tsx';
import { start } from './edge/client.ts';
import { showTheme } from './theme.ts';

showTheme();
const root = document.getElementById('page');
if (root) {
  // The sketch of index.html goes with the first thing that is shown. A rule of CSS that waits for it would have each change of
  // the page work out all styles anew.
  const first = new MutationObserver(() => {
    if (!root.querySelector('main > *')) return;
    first.disconnect();
    document.getElementById('skeleton')?.remove();
  });
  first.observe(root, { childList: true, subtree: true });
  render(<App />, root);
}
void start();
