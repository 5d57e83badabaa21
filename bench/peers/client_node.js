// node's smpp at its best: a window kept full by callbacks. See __init__.py for arguments.
const smpp = require('smpp');

const [host, ...numbers] = process.argv.slice(2);
const [port, first, count, window, receipts] = numbers.map(Number);
const text = 'Hello Anna, you have 1234 points: today everything in the shop is half price';
let sent = 0;
let answered = 0;
let came = 0;

const session = smpp.connect({ url: `smpp://${host}:${port}`, auto_enquire_link_period: 30000 });
session.on('error', (error) => { console.error(String(error)); process.exit(1); });
session.socket.setNoDelay(true);

function over() {
  if (answered === count && (!receipts || came === count)) session.unbind(() => process.exit(0));
}

function fill() {
  while (sent < count && sent - answered < window) {
    session.submit_sm({
      source_addr: '10690000', dest_addr_ton: 1, dest_addr_npi: 1, destination_addr: String(first + sent),
      registered_delivery: receipts, short_message: text,
    }, () => { answered += 1; fill(); over(); });
    sent += 1;
  }
}

session.on('deliver_sm', (pdu) => { came += 1; session.send(pdu.response()); over(); });
session.bind_transceiver({ system_id: 'peer', password: '' }, (pdu) => {
  if (pdu.command_status !== 0) process.exit(1);
  fill();
});
