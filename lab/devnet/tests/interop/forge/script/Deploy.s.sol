// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {Counter} from "../src/Counter.sol";

/// What this script needs of forge's cheat codes.
interface Vm {
    function startBroadcast(uint256 key) external;
    function stopBroadcast() external;
    function envUint(string calldata name) external view returns (uint256);
}

contract Deploy {
    Vm private constant VM = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    // forge looks for this to run a contract as a script.
    bool public IS_SCRIPT = true;

    function run() external {
        VM.startBroadcast(VM.envUint("DEPLOYER_KEY"));
        Counter counter = new Counter(40);
        counter.count(1);
        counter.count(1);
        VM.stopBroadcast();
        require(counter.number() == 42, "it counted");
    }
}
